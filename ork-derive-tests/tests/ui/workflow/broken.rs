//! All that is wrong with a workflow, where it is named.

ork::workflow!(BROKEN = "broken.yaml");

ork::workflow!(NOWHERE = "nowhere.yaml");

ork::workflow!(NO_PATH);

fn main() {}
