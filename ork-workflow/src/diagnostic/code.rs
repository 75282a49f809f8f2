//! The error and warning codes of workflows. Their words are stable.

use serde::{Serialize, Serializer};

use super::Level;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $level:ident $name:ident $word:literal)+) => {
        /// The code of an error or a warning in a workflow.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Returns the word for this code, as messages show it. It never changes.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// Returns whether this code is an error or a warning.
            pub fn level(self) -> Level {
                match self { $(Self::$name => Level::$level,)+ }
            }

            /// Returns a description in one line.
            pub fn means(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

codes! {
    // Parsing the text.
    /// The file is not text: it is not UTF-8 or holds a NUL.
    Error NotText "not-text"
    /// The file is longer than 1 MiB.
    Error TooLong "too-long"
    /// The text is not YAML.
    Error NotYaml "not-yaml"
    /// The file holds nothing.
    Error Empty "empty"
    /// The file holds several documents.
    Error SeveralDocuments "several-documents"
    /// An anchor, an alias or a merge key, which workflows do not have.
    Error Anchor "anchor"
    /// A tag, which workflows do not have.
    Error Tag "tag"
    /// A key occurs twice.
    Error DuplicateKey "duplicate-key"
    /// A key is not a text.
    Error KeyNotText "key-not-text"
    /// Lists and mappings are nested too deep.
    Error TooDeep "too-deep"
    /// A number that JSON does not have.
    Error NoSuchNumber "no-such-number"

    // Interpreting the workflow.
    /// A key that does not exist in this place.
    Error UnknownKey "unknown-key"
    /// A value of the wrong kind, such as a list where a number belongs.
    Error WrongValue "wrong-value"
    /// A word that is not among those that are possible here.
    Error UnknownWord "unknown-word"
    /// A key that must be there is not.
    Error MissingKey "missing-key"
    /// A key that tasks of this executor do not have.
    Error WrongExecutor "wrong-executor"
    /// A name that cannot be one.
    Error BadName "bad-name"
    /// A number that is too small or too large.
    Error OutOfRange "out-of-range"
    /// A duration that cannot be read.
    Error BadDuration "bad-duration"
    /// A reference that cannot be read.
    Error BadReference "bad-reference"
    /// A workflow with no tasks, or with too many.
    Error TaskCount "task-count"
    /// A schedule that is not one of cron.
    Error BadCron "bad-cron"
    /// A time zone that does not exist.
    Error UnknownTimezone "unknown-timezone"
    /// A schedule whose time never comes.
    Error ScheduleNever "schedule-never"

    // What a task executes.
    /// The program has no task of that name.
    Error NoSuchTask "no-such-task"
    /// A file does not exist.
    Error NoSuchFile "no-such-file"
    /// What is named as a file is a folder, a pipe or a device.
    Error NotAFile "not-a-file"
    /// The file of a program is not executable.
    Error NotExecutable "not-executable"
    /// A file outside the workflow's folder.
    Error OutsideFolder "outside-folder"
    /// A Python file cannot be loaded, or has no task in it.
    Error BrokenFile "broken-file"
    /// What runs such tasks is not there.
    Error NoExecutor "no-executor"
    /// A task that splits itself cannot be made many by a workflow.
    Error SplitsItself "splits-itself"
    /// A task whose input is not an object takes nothing from a workflow.
    Error InputNotObject "input-not-object"

    // Dependencies between tasks.
    /// A reference to a task that the workflow does not have.
    Error UnknownTask "unknown-task"
    /// A task that waits for itself.
    Error SelfReference "self-reference"
    /// Tasks that wait for each other.
    Error Cycle "cycle"
    /// A dependency that is written twice.
    Warning DuplicateDependency "duplicate-dependency"
    /// `on_failure: run` at a task that waits for nothing.
    Warning NothingToFail "nothing-to-fail"

    // Types.
    /// A field that an output does not have.
    Error UnknownField "unknown-field"
    /// A field of a task that is made many: its output is a list.
    Error FieldOfList "field-of-list"
    /// `foreach` over something that is not a list.
    Error NotAList "not-a-list"
    /// `parallel` by something that is not a whole number.
    Error NotACount "not-a-count"
    /// The items of a list are not what the task takes.
    Error ItemType "item-type"
    /// What a task returns is not what the other one takes.
    Error OutputType "output-type"
    /// A constant is not what the task takes.
    Error ConstantType "constant-type"
    /// A constant for an input that the task does not have.
    Error UnknownInput "unknown-input"
    /// An input that nobody gives.
    Error MissingInput "missing-input"
    /// `item` is both a constant and given by `foreach`.
    Error ItemTwice "item-twice"
    /// The task has no input `item`, so that all instances do the same.
    Warning ItemUnused "item-unused"
    /// An input that two could give.
    Warning AmbiguousInput "ambiguous-input"

    // Parameters of a run.
    /// The default of a parameter is not what a task takes.
    Error DefaultType "default-type"
    /// A parameter that no task takes.
    Warning UnusedParameter "unused-parameter"
    /// A workflow with a schedule needs defaults, as nobody is there to give values; and it tells a parameter one thing.
    Error ScheduleParameter "schedule-parameter"
    /// A value for a parameter that the workflow does not have.
    Error UnknownParameter "unknown-parameter"
    /// A parameter that needs a value was not given one.
    Error MissingParameter "missing-parameter"
    /// The value given for a parameter is not what a task takes.
    Error ParameterType "parameter-type"
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}
