//! `#[derive(ModelEvents)]`: reads `#[model_events(…)]` and writes the implementation and the methods beside the model.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{DeriveInput, Error, LitStr, Result, Token, punctuated::Punctuated};

/// What `#[model_events(…)]` says.
#[derive(Default)]
struct Attributes {
    name: Option<LitStr>,
    kind: Option<LitStr>,
    domain: Option<LitStr>,
    hidden: Vec<LitStr>,
    laravel: bool,
    custom: bool,
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    // SeaORM's dense form copies derives to `ModelEx` too.
    if input.ident == "ModelEx" {
        return Ok(TokenStream::new());
    }
    if input.ident != "Model" {
        let message = "`ModelEvents` belongs on SeaORM's `Model`, beside `DeriveEntityModel`";
        return Err(Error::new(input.ident.span(), message));
    }
    let attributes = read_attributes(input)?;
    let implementation = match attributes.custom {
        true => TokenStream::new(),
        false => implementation(&attributes)?,
    };
    Ok(quote! {
        #implementation

        #[allow(dead_code)]
        impl ActiveModel {
            /// Inserts the row and emits its `created` event in one transaction.
            pub async fn insert<C>(self, db: &C) -> ::std::result::Result<Model, ::sea_orm::DbErr>
            where
                C: ::sea_orm::ConnectionTrait + ::sea_orm::TransactionTrait,
            {
                ::streamer_sea_orm::insert::<Entity, C>(self, db).await
            }

            /// Updates the row and emits its `updated` event, if it changed, in one transaction.
            pub async fn update<C>(self, db: &C) -> ::std::result::Result<Model, ::sea_orm::DbErr>
            where
                C: ::sea_orm::ConnectionTrait + ::sea_orm::TransactionTrait,
            {
                ::streamer_sea_orm::update::<Entity, C>(self, db).await
            }

            /// Inserts or updates the row and emits its event in one transaction.
            pub async fn save<C>(self, db: &C) -> ::std::result::Result<ActiveModel, ::sea_orm::DbErr>
            where
                C: ::sea_orm::ConnectionTrait + ::sea_orm::TransactionTrait,
            {
                ::streamer_sea_orm::save::<Entity, C>(self, db).await
            }

            /// Deletes the row and emits its `deleted` event in one transaction.
            pub async fn delete<C>(self, db: &C) -> ::std::result::Result<::sea_orm::DeleteResult, ::sea_orm::DbErr>
            where
                C: ::sea_orm::ConnectionTrait + ::sea_orm::TransactionTrait,
            {
                ::streamer_sea_orm::delete::<Entity, C>(self, db).await
            }
        }

        #[allow(dead_code)]
        impl Model {
            /// Deletes the row and emits its `deleted` event in one transaction.
            pub async fn delete<C>(self, db: &C) -> ::std::result::Result<::sea_orm::DeleteResult, ::sea_orm::DbErr>
            where
                C: ::sea_orm::ConnectionTrait + ::sea_orm::TransactionTrait,
            {
                ::streamer_sea_orm::delete_known::<Entity, C>(self, db).await
            }

            /// Changes this model, which must be current, and emits its `updated` event, if it changed, in one
            /// transaction, without reading the row first.
            pub async fn change<C>(
                self,
                db: &C,
                change: impl ::std::ops::FnOnce(&mut ActiveModel) + ::std::marker::Send,
            ) -> ::std::result::Result<Model, ::sea_orm::DbErr>
            where
                C: ::sea_orm::ConnectionTrait + ::sea_orm::TransactionTrait,
            {
                ::streamer_sea_orm::change::<Entity, C>(self, db, change).await
            }
        }
    })
}

fn implementation(attributes: &Attributes) -> Result<TokenStream> {
    let Attributes {
        name,
        kind,
        domain,
        hidden,
        laravel,
        ..
    } = attributes;
    let name = name.as_ref().ok_or_else(|| {
        let message = "the model has no name: add #[model_events(name = \"order\")], or #[model_events(custom)] and an \
                       implementation of `streamer_sea_orm::ModelEvents` for `Entity`";
        Error::new(Span::call_site(), message)
    })?;
    let kind = kind.iter().map(|kind| {
        quote! { fn kind() -> &'static str { #kind } }
    });
    let domain = domain.iter().map(|domain| {
        quote! { fn domain() -> ::std::borrow::Cow<'static, str> { ::std::borrow::Cow::Borrowed(#domain) } }
    });
    let hidden = (!hidden.is_empty()).then(|| {
        quote! { fn hidden() -> &'static [&'static str] { &[#(#hidden),*] } }
    });
    let format = laravel.then(|| {
        quote! {
            fn format() -> ::streamer_sea_orm::PayloadFormat { ::streamer_sea_orm::PayloadFormat::Laravel }
        }
    });
    Ok(quote! {
        #[automatically_derived]
        impl ::streamer_sea_orm::ModelEvents for Entity {
            const NAME: &'static str = #name;
            #(#kind)*
            #(#domain)*
            #hidden
            #format
        }
    })
}

fn read_attributes(input: &DeriveInput) -> Result<Attributes> {
    let mut read = Attributes::default();
    for attribute in input.attrs.iter().filter(|one| one.path().is_ident("model_events")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                let name: LitStr = meta.value()?.parse()?;
                if name.value().is_empty() {
                    return Err(Error::new(name.span(), "the name of a model must not be empty"));
                }
                read.name = Some(name);
            } else if meta.path.is_ident("kind") {
                read.kind = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("domain") {
                read.domain = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("hidden") {
                let names;
                syn::parenthesized!(names in meta.input);
                read.hidden
                    .extend(Punctuated::<LitStr, Token![,]>::parse_terminated(&names)?);
            } else if meta.path.is_ident("laravel") {
                read.laravel = true;
            } else if meta.path.is_ident("custom") {
                read.custom = true;
            } else {
                let known =
                    "unknown key: model events have `name`, `kind`, `domain`, `hidden(\"…\")`, `laravel` and `custom`";
                return Err(meta.error(known));
            }
            Ok(())
        })?;
    }
    Ok(read)
}
