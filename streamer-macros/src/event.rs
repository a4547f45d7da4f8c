//! `#[derive(Event)]`: reads `#[event(…)]` and writes the implementations.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{
    DeriveInput, Error, Lit, LitStr, Member, Path, Result, meta::ParseNestedMeta, parse_quote, spanned::Spanned as _,
};

/// What `#[event(…)]` says.
#[derive(Default)]
struct Attributes {
    name: Option<LitStr>,
    kind: Option<LitStr>,
    identifier: Option<LitStr>,
    krate: Option<Path>,
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Attributes {
        name,
        kind,
        identifier,
        krate,
    } = read_attributes(input)?;
    let krate = krate.unwrap_or_else(|| parse_quote!(::streamer));
    let name = name.ok_or_else(|| {
        Error::new(
            input.ident.span(),
            format!(
                "the event `{}` has no name: add #[event(name = \"order.placed\")]",
                input.ident
            ),
        )
    })?;
    let kind = kind.unwrap_or_else(|| LitStr::new("event", Span::call_site()));

    let ident = &input.ident;
    let mut generics = input.generics.clone();
    if !generics.params.is_empty() {
        // Without parameters the supertrait says it already, and with a better message.
        let bound = parse_quote!(Self: #krate::__private::Serialize);
        generics.make_where_clause().predicates.push(bound);
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();

    let replayable = identifier.map(|identifier| -> Result<TokenStream> {
        let field: Member = identifier
            .parse()
            .map_err(|_| Error::new(identifier.span(), "`identifier` must name a field: identifier = \"id\""))?;
        Ok(quote! {
            #[automatically_derived]
            impl #impl_generics #krate::Replayable for #ident #type_generics #where_clause {
                fn identifier(&self) -> ::std::borrow::Cow<'_, str> {
                    ::std::borrow::Cow::Owned(::std::string::ToString::to_string(&self.#field))
                }
            }
        })
    });
    let replayable = replayable.transpose()?;

    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #krate::Event for #ident #type_generics #where_clause {
            fn name(&self) -> ::std::borrow::Cow<'_, str> {
                ::std::borrow::Cow::Borrowed(#name)
            }

            fn kind(&self) -> ::std::borrow::Cow<'_, str> {
                ::std::borrow::Cow::Borrowed(#kind)
            }
        }

        #[automatically_derived]
        impl #impl_generics #krate::NamedEvent for #ident #type_generics #where_clause {
            const NAME: &'static str = #name;
        }

        #replayable
    })
}

fn read_attributes(input: &DeriveInput) -> Result<Attributes> {
    let mut read = Attributes::default();
    for attribute in input
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("event"))
    {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                let name = text(&meta, "name", read.name.is_some())?;
                if name.value().is_empty() {
                    return Err(Error::new(name.span(), "the name of an event must not be empty"));
                }
                read.name = Some(name);
            } else if meta.path.is_ident("kind") {
                read.kind = Some(text(&meta, "kind", read.kind.is_some())?);
            } else if meta.path.is_ident("identifier") {
                read.identifier = Some(text(&meta, "identifier", read.identifier.is_some())?);
            } else if meta.path.is_ident("crate") {
                read.krate = Some(meta.value()?.call(Path::parse_mod_style)?);
            } else {
                return Err(meta.error("unknown key: an event has `name`, `kind`, `identifier` and `crate`"));
            }
            Ok(())
        })?;
    }
    Ok(read)
}

fn text(meta: &ParseNestedMeta<'_>, key: &str, given_before: bool) -> Result<LitStr> {
    if given_before {
        return Err(meta.error(format!("`{key}` is given twice")));
    }
    let wrong = |span| Error::new(span, format!("`{key}` must be a string: {key} = \"…\""));
    let value = meta.value().map_err(|_| wrong(meta.path.span()))?;
    match value.parse().map_err(|error: Error| wrong(error.span()))? {
        Lit::Str(text) => Ok(text),
        other => Err(wrong(other.span())),
    }
}
