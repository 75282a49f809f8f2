//! A catalog of the tasks that the test workflows name, read from `catalog.json`.

use ork_workflow::{Answer, Catalog, Signature, Unavailable};
use serde_json::Value;

pub(crate) struct TestCatalog(Value);

impl TestCatalog {
    pub(crate) fn new() -> Self {
        Self::read(include_str!("catalog.json"))
    }

    pub(crate) fn read(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap())
    }

    fn known(task: &Value) -> Answer {
        Answer::Known(Signature {
            input: task["input"].clone(),
            by_name: task.get("by_name").cloned(),
            output: task["output"].clone(),
            place: task["place"].as_str().unwrap().to_owned(),
            splits: task["splits"] == true,
        })
    }

    fn file(&self, file: &str) -> Answer {
        let about = &self.0["files"][file];
        let text = |key: &str| about[key].as_str().map(str::to_owned);
        Answer::Unavailable(match about {
            _ if about["outside"] == true => Unavailable::Outside,
            _ if about["not_executable"] == true => Unavailable::NotExecutable,
            _ if about["found"].is_string() => Unavailable::NotAFile { found: text("found").unwrap() },
            _ if about["broken"].is_string() => Unavailable::Broken { message: text("broken").unwrap() },
            _ if about["no_executor"].is_string() => Unavailable::NoExecutor { message: text("no_executor").unwrap() },
            _ => Unavailable::NoSuchFile { nearest: text("nearest") },
        })
    }
}

impl Catalog for TestCatalog {
    fn rust(&self, name: &str) -> Answer {
        match self.0["rust"].get(name) {
            Some(task) => Self::known(task),
            None => Answer::Unavailable(Unavailable::NoSuchTask),
        }
    }

    fn rust_names(&self) -> Vec<String> {
        self.0["rust"].as_object().unwrap().keys().cloned().collect()
    }

    fn python(&self, file: &str) -> Answer {
        match self.0["python"].get(file) {
            Some(task) => Self::known(task),
            None => self.file(file),
        }
    }

    fn program(&self, name: &str) -> Answer {
        let known = self.0["programs"].as_array().unwrap().iter().any(|it| it == name);
        if known { Answer::Unknown } else { self.file(name) }
    }
}
