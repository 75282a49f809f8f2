//! The table in `docs/other-languages.md`: what each shape of serde is in JSON Schema, in Python, in TypeScript and in Java,
//! as the tools make it that the document names.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../../ork-runtime/tests/support/installed.rs"]
#[expect(unreachable_pub, reason = "each test program uses its own share of it")]
mod installed;
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use installed::{installed, python};
use serde_json::Value;
use support::clients::{JAVA, PYTHON, TYPESCRIPT, link, run};
use support::{Place, Process, exe};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// The fields of the Rust type, with their types, in order.
fn rust() -> Vec<(String, String)> {
    let text = read("examples/src/bin/shapes.rs");
    let fields = text.split("struct Shapes {\n").nth(1).unwrap().split("\n}").next().unwrap();
    let fields = fields.lines().map(str::trim).filter(|line| !line.starts_with('/'));
    let mut attribute = String::new();
    let mut found = Vec::new();
    for line in fields {
        match line.split_once(": ") {
            Some((name, kind)) if !line.starts_with('#') => {
                let kind = format!("{}{}", std::mem::take(&mut attribute), kind.trim_end_matches(','));
                found.push((name.to_owned(), kind));
            }
            _ => attribute = format!("{line} "),
        }
    }
    found
}

/// What is said of a type, without its words.
fn bare(schema: &Value) -> Value {
    match schema {
        Value::Object(keys) => {
            let keys = keys
                .iter()
                .filter(|(key, value)| !(value.is_string() && ["title", "description"].contains(&key.as_str())));
            Value::Object(keys.map(|(key, value)| (key.clone(), bare(value))).collect())
        }
        Value::Array(items) => items.iter().map(bare).collect(),
        other => other.clone(),
    }
}

/// The types of the fields in Python, from the syntax of what was made.
const ANNOTATIONS: &str = r#"
import ast, json
found = {}
for part in ast.parse(open("models.py").read()).body:
    if isinstance(part, ast.ClassDef) and part.name == "Shapes":
        for field in part.body:
            if isinstance(field, ast.AnnAssign):
                kind = field.annotation
                if isinstance(kind, ast.Subscript) and ast.unparse(kind.value) == "Annotated":
                    kind = kind.slice.elts[0]
                default = "" if field.value is None else " = " + ast.unparse(field.value)
                found[ast.unparse(field.target)] = ast.unparse(kind) + default
print(json.dumps(found))
"#;

/// The types of the fields in TypeScript: those that have a name of their own written out.
fn typescript(text: &str) -> BTreeMap<String, String> {
    let uncommented: Vec<_> =
        text.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, rest)| rest)).collect();
    let text = uncommented.concat().split_whitespace().collect::<Vec<_>>().join(" ");
    let interface = text.split("export interface Shapes { ").nth(1).unwrap();
    let alias = |name: &str| {
        let declared = format!("export type {name} = ");
        text.split(&declared).nth(1).map(|rest| until(rest, ';').trim_start_matches("| ").to_owned())
    };
    let mut fields = BTreeMap::new();
    let mut rest = interface;
    while !rest.starts_with('}') {
        let field = until(rest, ';');
        rest = rest[field.len() + 1..].trim_start();
        let (name, kind) = field.split_once(": ").unwrap();
        let optional = if name.ends_with('?') { "?: " } else { "" };
        let kind = alias(kind).unwrap_or_else(|| kind.to_owned());
        fields.insert(name.trim_end_matches('?').to_owned(), format!("{optional}{kind}"));
    }
    fields
}

/// The types of the fields in Java.
fn java(text: &str) -> BTreeMap<String, String> {
    let fields =
        text.lines().filter_map(|line| line.trim().strip_prefix("private ")?.strip_suffix(';')?.rsplit_once(' '));
    fields.map(|(kind, name)| (name.to_owned(), kind.to_owned())).collect()
}

/// A text up to a sign outside of all brackets.
fn until(text: &str, sign: char) -> &str {
    let mut depth = 0;
    let end = text.find(|c: char| {
        depth += match c {
            '{' | '[' | '(' => 1,
            '}' | ']' | ')' => -1,
            _ => 0,
        };
        c == sign && depth == 0
    });
    &text[..end.unwrap_or(text.len())]
}

#[test]
fn the_table_of_shapes_is_what_the_tools_make() {
    let (Some(python), Some(node), Some(jdk)) = (python(), installed("node"), installed("java")) else { return };
    let place = Place::new();
    place.run(exe!("shapes"), "schema export --output ork.schema.json").ok();
    place.run(exe!("shapes"), "schema export --format draft7 --output ork.schema7.json").ok();
    assert_eq!(run(&place, PYTHON[0], Path::new(&python).parent().unwrap()).code, Some(0));
    std::fs::create_dir(place.path().join("tasks")).unwrap();
    for (installed, command) in [(node, TYPESCRIPT[0]), (jdk, JAVA[0])] {
        let _before = std::fs::remove_file(place.path().join("node_modules"));
        link(&place, Path::new(&installed), "node_modules");
        assert_eq!(run(&place, command, &Path::new(&installed).join("node_modules/.bin")).code, Some(0), "{command}");
    }

    let bundle: Value = place.run(exe!("shapes"), "schema export").json();
    let typescript = typescript(&std::fs::read_to_string(place.path().join("tasks.ts")).unwrap());
    let java = java(&std::fs::read_to_string(place.path().join("tasks/Shapes.java")).unwrap());
    let annotations = Process::start(place.command(&python, &["-c", ANNOTATIONS])).end().json();
    let cell = |text: &str| format!("`{}`", text.replace('|', "\\|"));
    let rows = rust().into_iter().map(|(name, kind)| {
        let own = bundle.pointer(&format!("/$defs/Shapes/properties/{name}")).unwrap();
        // What anything is has no keywords.
        let target = own.get("$ref").and_then(Value::as_str).and_then(|path| bundle.pointer(&path[1..]));
        let schema = bare(target.unwrap_or(own)).to_string();
        let python = annotations.get(&name).and_then(Value::as_str).unwrap_or_else(|| panic!("{name}: {annotations}"));
        let [kind, schema, python] = [kind.as_str(), &schema, python].map(cell);
        format!("| {kind} | {schema} | {python} | {} | {} |", cell(&typescript[&name]), cell(&java[&name]))
    });
    let table = rows.collect::<Vec<_>>().join("\n");
    assert!(read("docs/other-languages.md").contains(&table), "the table is now:\n{table}");
}

#[test]
fn the_document_has_the_commands_and_the_programs_that_are_tested() {
    let document = read("docs/other-languages.md");
    // The shell's quotes are not part of a command.
    let flat = document.replace("\\\n", " ").replace('\'', "").split_whitespace().collect::<Vec<_>>().join(" ");
    for command in [PYTHON, TYPESCRIPT, JAVA].concat() {
        assert!(flat.contains(command), "no `{command}`");
    }
    let java = ["java/OrkClient.java", "java/Main.java", "java/package.json"];
    for file in
        ["python/ork_client.py", "python/main.py", "typescript/ork.ts", "typescript/main.ts"].iter().chain(&java)
    {
        assert!(document.contains(&format!("(../examples/clients/{file})")), "no link to {file}");
    }
}
