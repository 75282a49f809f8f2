//! All mistakes of a workflow, reported at the path of its file.

ork::workflow!(BROKEN = "broken.yaml");

ork::workflow!(NOWHERE = "nowhere.yaml");

ork::workflow!(NO_PATH);

fn main() {}
