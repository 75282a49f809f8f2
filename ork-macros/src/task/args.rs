//! Parses the options in the parentheses of `#[task(..)]`. Rules that concern several options are in `check`.

use std::time::Duration;

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::token::Paren;
use syn::{Expr, Token};

use super::errors::Errors;
use super::options;
use super::value::{self, Concurrency, OnError, Tolerate, Value};

/// One option: the identifier with which it was given, if it was, and its value if that was valid.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    ident: Option<Ident>,
    value: Option<T>,
}

/// All options, by name.
#[derive(Debug, Default)]
pub(crate) struct Args {
    pub(crate) part: Slot<()>,
    pub(crate) join: Slot<()>,
    pub(crate) name: Slot<String>,
    pub(crate) queue: Slot<String>,
    pub(crate) retries: Slot<u32>,
    pub(crate) backoff: Slot<Duration>,
    pub(crate) timeout: Slot<Duration>,
    pub(crate) priority: Slot<u32>,
    pub(crate) concurrency: Slot<Concurrency>,
    pub(crate) unique: Slot<String>,
    pub(crate) chunk: Slot<u32>,
    pub(crate) on_error: Slot<OnError>,
    pub(crate) tolerate: Slot<Tolerate>,
    pub(crate) krate: Slot<TokenStream>,
    given: Vec<Ident>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { ident: None, value: None }
    }
}

impl<T> Slot<T> {
    /// The identifier with which the option was given, if it was.
    pub(crate) const fn ident(&self) -> Option<&Ident> {
        self.ident.as_ref()
    }

    /// The value of the option, if it was given and valid.
    pub(crate) const fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    fn fill(&mut self, ident: Ident, value: syn::Result<T>, errors: &mut Errors) {
        if self.ident.is_some() {
            errors.at(&ident, format!("`{ident}` is given twice"));
            return;
        }
        self.ident = Some(ident);
        self.value = value.map_err(|error| errors.add(error)).ok();
    }
}

impl Args {
    /// Parses all options. A mistake in one of them does not prevent the others from being read.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Self::default();
        let all = |input: ParseStream<'_>| {
            while !input.is_empty() {
                if let Err(error) = args.one(input, errors) {
                    errors.add(error);
                    skip(input)?;
                }
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(())
        };
        if let Err(error) = all.parse2(tokens) {
            errors.add(error);
        }
        args
    }

    /// All known options that were given, in order.
    pub(crate) fn given(&self) -> &[Ident] {
        &self.given
    }

    fn one(&mut self, input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<()> {
        let option = input
            .call(Ident::parse_any)
            .map_err(|error| syn::Error::new(error.span(), "expected an option, such as `retries = 3`"))?;
        let text = option.to_string();
        if options::place(&text).is_none() {
            skip(input)?;
            return Err(syn::Error::new(option.span(), options::unknown(&text)));
        }
        let value: Value = if input.is_empty() || input.peek(Token![,]) {
            None
        } else if text == "concurrency" && input.peek(Paren) {
            // `concurrency(4, key = "tenant")` has the form of a tuple.
            Some(input.parse::<Expr>()?)
        } else {
            let equals = input.parse::<Token![=]>();
            equals.map_err(|error| syn::Error::new(error.span(), format!("expected `=` after `{text}`")))?;
            let is_missing = input.is_empty() || input.peek(Token![,]);
            if is_missing { None } else { Some(input.parse::<Expr>()?) }
        };
        if !input.is_empty() && !input.peek(Token![,]) {
            return Err(input.error("expected `,` between two options"));
        }
        self.given.push(option.clone());
        self.set(&text, option, value, errors);
        Ok(())
    }

    fn set(&mut self, text: &str, option: Ident, value: Value, errors: &mut Errors) {
        let w = &option.clone();
        match text {
            "part" => self.part.fill(option, value::flag(w, value), errors),
            "join" => self.join.fill(option, value::flag(w, value), errors),
            "name" => self.name.fill(option, value::name(w, value), errors),
            "queue" => self.queue.fill(option, value::name(w, value), errors),
            "retries" => self.retries.fill(option, value::number(w, value, 0, u32::MAX), errors),
            "backoff" => self.backoff.fill(option, value::duration(w, value), errors),
            "timeout" => self.timeout.fill(option, value::some_duration(w, value), errors),
            "priority" => self.priority.fill(option, value::number(w, value, 0, 9), errors),
            "concurrency" => self.concurrency.fill(option, value::concurrency(w, value), errors),
            "unique" => self.unique.fill(option, value::name(w, value), errors),
            "chunk" => self.chunk.fill(option, value::number(w, value, 1, u32::MAX), errors),
            "on_error" => self.on_error.fill(option, value::on_error(w, value), errors),
            "tolerate" => self.tolerate.fill(option, value::tolerate(w, value), errors),
            "crate" => self.krate.fill(option, value::krate(w, value), errors),
            _ => errors.at(w, options::unknown(text)),
        }
    }
}

/// Skips the rest of an option, so that the next one can be read.
fn skip(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}
