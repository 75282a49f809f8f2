//! Rust code as tokens, and the paths in it.

/// Returns the words and punctuation of Rust code, without comments, string literals, and the tests at its end.
pub(crate) fn tokens(code: &str) -> Vec<String> {
    let code = code.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let (mut tokens, mut rest) = (Vec::new(), code.chars().peekable());
    while let Some(c) = rest.next() {
        match c {
            '/' if rest.peek() == Some(&'/') => while rest.next_if(|c| *c != '\n').is_some() {},
            '"' => {
                while let Some(c) = rest.next() {
                    match c {
                        '\\' => drop(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            // A character or a lifetime, which no path contains.
            '\'' => {
                if rest.next_if_eq(&'\\').is_some() || rest.clone().nth(1) == Some('\'') {
                    rest.next();
                    rest.next_if_eq(&'\'');
                }
            }
            ':' if rest.next_if_eq(&':').is_some() => tokens.push("::".into()),
            c if c.is_alphanumeric() || c == '_' => {
                let mut word = String::from(c);
                while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                tokens.push(word);
            }
            c if c.is_whitespace() => {}
            c => tokens.push(c.into()),
        }
    }
    tokens
}

/// Finds the paths of a tree such as `a::{b, c::d}` that begins at `tokens[0]`, and returns how many tokens it has.
pub(crate) fn paths(tokens: &[String], before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let (mut path, mut at) = (before.to_vec(), 0);
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at += paths(&tokens[at..], &path, found).max(1);
                    at += usize::from(tokens.get(at).is_some_and(|token| token == ","));
                }
                return at + 1;
            }
            Some(word) if word.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
                path.push(word.to_owned());
                at += 1;
            }
            _ => {}
        }
        if tokens.get(at).is_some_and(|token| token == "::") {
            at += 1;
        } else {
            if tokens.get(at).is_some_and(|token| token == "as") {
                at += 2;
            }
            found.push(path);
            return at;
        }
    }
}
