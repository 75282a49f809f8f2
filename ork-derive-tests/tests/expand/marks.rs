//! Context and states: by name, by mark, and forced to be inputs.

#[task]
fn marked(context: ork::Context, state: State<Db>, #[input] own: my::Context, #[state] db: Db) -> u8 {
    1
}
