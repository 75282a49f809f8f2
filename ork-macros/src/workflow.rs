//! The `workflow!` macro, which reads a workflow file and checks it at compile time, as far as that is possible.

use std::path::Path;

use ork_workflow::{File, NoCatalog, Style, Workflow};
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Ident, LitStr, Token, Visibility};

/// `pub NAME = "path"`.
struct Item {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    name: Ident,
    path: LitStr,
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let name = input.parse()?;
        let form =
            |error: Error| Error::new(error.span(), "expected a name and a file: `workflow!(NAME = \"file.yaml\")`");
        input.parse::<Token![=]>().map_err(form)?;
        Ok(Self { attributes, visibility, name, path: input.parse().map_err(form)? })
    }
}

/// Expands to the static of a workflow, and to the test that checks it against the tasks.
pub(crate) fn expand(input: TokenStream) -> TokenStream {
    let expanded = syn::parse2::<Item>(input).and_then(|item| expand_item(&item));
    expanded.unwrap_or_else(|error| error.to_compile_error())
}

fn expand_item(item: &Item) -> syn::Result<TokenStream> {
    let Item { attributes, visibility, name, path } = item;
    let here = path.span().unwrap().local_file().unwrap_or_default();
    let file = here.parent().unwrap_or(Path::new("")).join(path.value());
    let bytes = std::fs::read(&file).map_err(|error| {
        let message =
            format!("cannot read the workflow `{}`: {error}; its path is relative to this file", path.value());
        Error::new(path.span(), message)
    })?;
    let workflow = Workflow::read(File::from_bytes(path.value(), &bytes));
    let checked = workflow.check(&NoCatalog, None);
    if checked.has_errors() {
        let errors = checked.render(workflow.file(), Style::Plain);
        return Err(Error::new(path.span(), format!("the workflow has errors:\n\n{}", errors.trim_end())));
    }
    let test = format_ident!("the_workflow_{}_fits_its_tasks", name.to_string().to_lowercase());
    Ok(quote! {
        #(#attributes)*
        #visibility static #name: ::ork::EmbeddedWorkflow =
            ::ork::EmbeddedWorkflow::new(#path, ::core::include_str!(#path));

        #[cfg(test)]
        #[test]
        fn #test() {
            #name.assert_fits();
        }
    })
}
