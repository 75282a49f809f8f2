//! How a model is explored, and when a mutant counts as caught.

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use super::proof;

/// The result of an exploration.
pub(crate) struct Found {
    /// The number of distinct worlds.
    pub(crate) states: usize,
    /// A property that does not hold, with the steps that lead there.
    pub(crate) broken: Option<(&'static str, String)>,
}

/// Explores every world, or of a large model only `most` states, depth first.
pub(crate) fn search<M>(model: M, most: usize) -> Found
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let named = |expectation: Expectation| {
        let properties = model.properties().into_iter().filter(move |it| it.expectation == expectation);
        properties.map(|it| it.name).collect::<Vec<_>>()
    };
    let (always, sometimes) = (named(Expectation::Always), named(Expectation::Sometimes));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let builder = model.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    // The whole model in breadth-first order, which gives the shortest counterexample; a share of a large one depth
    // first.
    if most == 0 {
        found(&builder.spawn_bfs().join(), always, &sometimes)
    } else {
        found(&builder.target_state_count(most).spawn_dfs().join(), always, &sometimes)
    }
}

fn found<M>(checker: &impl Checker<M>, always: Vec<&'static str>, sometimes: &[&'static str]) -> Found
where
    M: Model<State: Clone + Debug + Hash + PartialEq, Action: Clone + Debug + PartialEq>,
{
    let broken = always.into_iter().find_map(|name| {
        let path = checker.discovery(name)?;
        let end = format!("{:#?}", path.last_state());
        let steps: Vec<_> = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
        Some((name, format!("{}\n{end}", steps.join("\n  "))))
    });
    let never = sometimes.iter().find(|name| checker.discovery(name).is_none());
    assert!(broken.is_some() || never.is_none(), "never reached: {never:?}; too little was explored");
    Found { states: checker.unique_state_count(), broken }
}

/// Asserts that the unchanged model holds and the mutant does not. Prints the counterexample.
pub(crate) fn caught(mutant: impl Debug, unchanged: &Found, mutated: &Found) {
    assert!(unchanged.broken.is_none(), "the unchanged model does not hold: {:?}", unchanged.broken);
    let Some((property, path)) = &mutated.broken else {
        panic!("{mutant:?} was not caught in {} states", mutated.states)
    };
    println!("{mutant:?}: violated: {property}:\n  {path}");
    proof::note("mutants_caught", 1);
}
