//! The action that a message requests of the engine. Elsewhere, only what concerns the message itself is read from its
//! kind: its job, its part, and its name in errors.

use super::slots::{Need, SlotKind};
use super::step::Step;
use crate::job::Phase;
use crate::message::{Message, WorkKind};
use crate::registry::{Registry, Task};
use crate::task::TaskDef;
use crate::task::builtin::CANCEL;
use crate::workflow_run::{RUN, SCHEDULE};

/// The action that a message requests of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Call the function of the task for a whole job.
    Call,
    /// Call the function of the task for one part of a job. The store counts the parts.
    Part,
    /// Call the function of the task for one part of a job. A part queue counts the parts.
    CountedPart,
    /// Call the split of the task, and make a part of each item that it yields.
    Split,
    /// Create the instances of a step that fans out; or fail a step whose input cannot be built.
    FanOut,
    /// Call the join of the task.
    Join,
    /// Cancel a job, as `ork.cancel` asks.
    CancelJob,
    /// Start the first steps of a workflow run.
    StartRun,
    /// Start the task of a schedule if it is due.
    FireSchedule,
    /// Send those hooks of a job that the bit mask selects.
    SendHooks(u32),
}

impl Action {
    /// Returns what a message asks for. `step` is the step that its job is in its workflow run, if it is one.
    pub(super) fn of(task: &Task, message: &Message, step: Option<&Step>) -> Self {
        let has_part_hook = message.has_part_hook();
        match message.kind {
            WorkKind::Hooks(mask) => Self::SendHooks(mask),
            WorkKind::Join => Self::Join,
            WorkKind::Part { .. } if has_part_hook => Self::CountedPart,
            WorkKind::Part { .. } => Self::Part,
            WorkKind::Step if step.is_some_and(|step| !step.is_call()) => Self::FanOut,
            WorkKind::Job | WorkKind::Single | WorkKind::Step => match task.name() {
                CANCEL => Self::CancelJob,
                RUN => Self::StartRun,
                SCHEDULE => Self::FireSchedule,
                // A job that is already a part, or one item, is not split again.
                _ if task.split.is_some() && !has_part_hook && message.kind != WorkKind::Single => Self::Split,
                _ => Self::Call,
            },
        }
    }

    /// Returns the function that is called, or whose options apply.
    pub(super) fn def(self, task: &Task) -> &TaskDef {
        match self {
            Self::Join => task.join.as_ref().unwrap_or(&task.work),
            Self::Split | Self::FanOut => task.entry(),
            Self::Call
            | Self::Part
            | Self::CountedPart
            | Self::CancelJob
            | Self::StartRun
            | Self::FireSchedule
            | Self::SendHooks(_) => &task.work,
        }
    }

    /// Returns whether the function of the task is called, for a job or a part. Concurrency limits apply to such calls.
    pub(super) const fn is_call(self) -> bool {
        matches!(self, Self::Call | Self::Part | Self::CountedPart)
    }

    /// Returns whether the work belongs to a job that only the store knows.
    pub(super) const fn needs_store(self, message: &Message) -> bool {
        matches!(self, Self::Part | Self::Join | Self::SendHooks(_)) || matches!(message.kind, WorkKind::Step)
    }

    /// Returns the phase of the job in which this happens.
    pub(super) const fn phase(self) -> Phase {
        match self {
            Self::Join => Phase::Join,
            _ => Phase::Start,
        }
    }

    /// Returns the kind of slot that the call takes; `None` if there is no call: a split and the engine's own work take
    /// no slot.
    pub(super) fn slot(self, task: &Task) -> Option<SlotKind> {
        let def = match self {
            Self::Call | Self::Part | Self::CountedPart => &task.work,
            Self::Join => task.join.as_ref()?,
            _ => return None,
        };
        Some(SlotKind::of(def))
    }

    /// Returns what the call needs before it may be claimed; `None` if there is no call.
    pub(super) fn need(self, task: &Task) -> Option<Need> {
        match self {
            Self::Split => Some(Need::Split),
            _ => self.slot(task).map(Need::Slot),
        }
    }
}

/// Returns the kind of slot that a message needs, as far as the message alone shows. `None` also if the task is
/// unknown, or the message is a step of a workflow run, which may be one call or fan out.
pub(crate) fn slot_needed(registry: &Registry, message: &Message) -> Option<SlotKind> {
    let task = registry.get(&message.task).ok().filter(|_| message.kind != WorkKind::Step)?;
    Action::of(task, message, None).slot(task)
}
