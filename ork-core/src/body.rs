//! The limits that the body of a message must meet before it is parsed.

/// The limits that a body must meet before it is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum size in bytes.
    pub bytes: usize,
    /// The maximum nesting depth of arrays and objects.
    pub depth: usize,
}

impl Default for Limits {
    /// 16 MiB, 64 levels.
    fn default() -> Self {
        Self { bytes: 16 * 1024 * 1024, depth: 64 }
    }
}

/// The reason why a body is rejected before its task sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body is larger than `max_message_bytes`.
    #[error("the body has {found} bytes, at most {most} are allowed (`max_message_bytes`)")]
    TooLarge {
        /// The size of the body in bytes.
        found: usize,
        /// The maximum size in bytes.
        most: usize,
    },
    /// The body is nested too deeply.
    #[error("the body is nested deeper than {most} levels")]
    TooDeep {
        /// The maximum depth.
        most: usize,
    },
}

impl Limits {
    /// Checks the size and the nesting depth of a body, without parsing it.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] or [`BodyError::TooDeep`].
    pub fn check(&self, body: &[u8]) -> Result<(), BodyError> {
        if body.len() > self.bytes {
            return Err(BodyError::TooLarge { found: body.len(), most: self.bytes });
        }
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        for byte in body {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'[' | b'{' if !in_string => {
                    depth += 1;
                    if depth > self.depth {
                        return Err(BodyError::TooDeep { most: self.depth });
                    }
                }
                b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_do_not_count() {
        let limits = Limits { bytes: 1_000, depth: 2 };
        assert_eq!(limits.check(br#"{"a": ["[[[[\"[["]}"#), Ok(()));
        assert_eq!(limits.check(b"[[[]]]"), Err(BodyError::TooDeep { most: 2 }));
        assert_eq!(limits.check(&[b' '; 1_001]), Err(BodyError::TooLarge { found: 1_001, most: 1_000 }));
    }
}
