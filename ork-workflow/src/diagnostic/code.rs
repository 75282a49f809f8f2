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
    /// The file is not text: it is not UTF-8 or contains a NUL byte.
    Error NotText "not-text"
    /// The file is longer than 1 MiB.
    Error TooLong "too-long"
    /// The file is not valid YAML.
    Error NotYaml "not-yaml"
    /// The file is empty.
    Error Empty "empty"
    /// The file contains several YAML documents.
    Error SeveralDocuments "several-documents"
    /// An anchor, an alias or a merge key, which workflows do not support.
    Error Anchor "anchor"
    /// A tag, which workflows do not support.
    Error Tag "tag"
    /// A key occurs twice.
    Error DuplicateKey "duplicate-key"
    /// A key is not a string.
    Error KeyNotText "key-not-text"
    /// Lists and mappings are nested too deeply.
    Error TooDeep "too-deep"
    /// A number that JSON cannot represent.
    Error NoSuchNumber "no-such-number"

    // Interpreting the workflow.
    /// A key that is not allowed in this place.
    Error UnknownKey "unknown-key"
    /// A value of the wrong type, such as a list where a number is expected.
    Error WrongValue "wrong-value"
    /// A word that is not one of the allowed values.
    Error UnknownWord "unknown-word"
    /// A required key is missing.
    Error MissingKey "missing-key"
    /// A key that is not valid for tasks with this executor.
    Error WrongExecutor "wrong-executor"
    /// An invalid name.
    Error BadName "bad-name"
    /// A number that is too small or too large.
    Error OutOfRange "out-of-range"
    /// An invalid duration.
    Error BadDuration "bad-duration"
    /// An invalid reference.
    Error BadReference "bad-reference"
    /// A workflow with no tasks, or with too many.
    Error TaskCount "task-count"
    /// A schedule that is not a valid cron expression.
    Error BadCron "bad-cron"
    /// A time zone that does not exist.
    Error UnknownTimezone "unknown-timezone"
    /// A schedule that never fires.
    Error ScheduleNever "schedule-never"

    // What a task executes.
    /// The program has no task of that name.
    Error NoSuchTask "no-such-task"
    /// A file does not exist.
    Error NoSuchFile "no-such-file"
    /// The path of a file leads to a folder, a pipe or a device.
    Error NotAFile "not-a-file"
    /// A program is not executable.
    Error NotExecutable "not-executable"
    /// A file outside the workflow's folder.
    Error OutsideFolder "outside-folder"
    /// A Python file cannot be loaded, or contains no task.
    Error BrokenFile "broken-file"
    /// The executor of the task is not available.
    Error NoExecutor "no-executor"
    /// A workflow cannot fan out a task that has a split.
    Error SplitsItself "splits-itself"
    /// The input of a task is not an object, so a workflow cannot pass inputs to it.
    Error InputNotObject "input-not-object"

    // Dependencies between tasks.
    /// A reference to a task that the workflow does not have.
    Error UnknownTask "unknown-task"
    /// A task that depends on itself.
    Error SelfReference "self-reference"
    /// Tasks that depend on each other.
    Error Cycle "cycle"
    /// A dependency that is listed twice.
    Warning DuplicateDependency "duplicate-dependency"
    /// `on_failure: run` on a task without dependencies.
    Warning NothingToFail "nothing-to-fail"

    // Types.
    /// A field that an output does not have.
    Error UnknownField "unknown-field"
    /// A field of the output of a fan-out, which is a list.
    Error FieldOfList "field-of-list"
    /// `foreach` over something that is not a list.
    Error NotAList "not-a-list"
    /// `parallel` with something that is not an integer.
    Error NotACount "not-a-count"
    /// The items of a list have the wrong type for the task.
    Error ItemType "item-type"
    /// The output of a task has the wrong type for another task.
    Error OutputType "output-type"
    /// A constant has the wrong type for the task.
    Error ConstantType "constant-type"
    /// A constant for an input that the task does not have.
    Error UnknownInput "unknown-input"
    /// A required input without a source.
    Error MissingInput "missing-input"
    /// `item` is set both by a constant and by `foreach`.
    Error ItemTwice "item-twice"
    /// The task has no input `item`, so all instances do the same.
    Warning ItemUnused "item-unused"
    /// An input with two possible sources.
    Warning AmbiguousInput "ambiguous-input"

    // Parameters of a run.
    /// The default of a parameter has the wrong type for a task.
    Error DefaultType "default-type"
    /// A parameter that no task takes.
    Warning UnusedParameter "unused-parameter"
    /// In a workflow with a schedule, each parameter needs a default, or is set by either `time_as` or `date_as`.
    Error ScheduleParameter "schedule-parameter"
    /// A value for a parameter that the workflow does not have.
    Error UnknownParameter "unknown-parameter"
    /// A parameter without a default has no value.
    Error MissingParameter "missing-parameter"
    /// The value of a parameter has the wrong type for a task.
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
