//! `#[listener]`: checks a listener function where it is written, so that a mistake is reported there and not where the
//! function is registered.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Error, FnArg, GenericArgument, Ident, ItemFn, Path, PathArguments, Result, ReturnType, Token, Type,
    parse::{Parse, ParseStream},
    parse_quote,
    spanned::Spanned as _,
};

/// How many arguments a listener function may have.
const MOST_ARGUMENTS: usize = 8;

/// What `#[listener(…)]` says.
#[derive(Default)]
pub(crate) struct Attributes {
    state: Option<Type>,
    krate: Option<Path>,
}

impl Parse for Attributes {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut read = Self::default();
        while !input.is_empty() {
            if input.peek(Token![crate]) {
                input.parse::<Token![crate]>()?;
                input.parse::<Token![=]>()?;
                read.krate = Some(input.call(Path::parse_mod_style)?);
            } else {
                let key = input.parse::<Ident>()?;
                if key != "state" {
                    return Err(Error::new(
                        key.span(),
                        "unknown key: a listener has `state` and `crate`",
                    ));
                }
                input.parse::<Token![=]>()?;
                read.state = Some(input.parse()?);
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(read)
    }
}

/// The function as it was, and beside it what does not compile if it cannot be a listener.
pub(crate) fn check(attributes: Attributes, function: &ItemFn) -> Result<TokenStream> {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        let message = format!("a listener is an `async fn`: write `async fn {}`", signature.ident);
        return Err(Error::new(signature.fn_token.span, message));
    }
    if !signature.generics.params.is_empty() {
        let message = "`#[listener]` cannot check a function with generic parameters: the types of a listener's arguments \
                       must be known here";
        return Err(Error::new(signature.generics.span(), message));
    }
    let mut types = Vec::new();
    for argument in &signature.inputs {
        match argument {
            FnArg::Typed(argument) => types.push(&*argument.ty),
            FnArg::Receiver(receiver) => {
                let message = "a listener function has no `self`: a struct implements `Listener` instead";
                return Err(Error::new(receiver.span(), message));
            }
        }
    }
    if let Some(one_more) = types.get(MOST_ARGUMENTS) {
        let message = format!("a listener takes at most {MOST_ARGUMENTS} arguments");
        return Err(Error::new(one_more.span(), message));
    }
    let krate = attributes.krate.unwrap_or_else(|| parse_quote!(::streamer));
    let state = match attributes.state {
        Some(state) => state,
        None => state_of(&types)?,
    };
    let name = &signature.ident;
    let arguments = types.iter().map(|ty| {
        quote_spanned! { ty.span() => #krate::__private::check_argument::<#state, #ty>(); }
    });
    let outcome = match &signature.output {
        ReturnType::Default => quote!(),
        ReturnType::Type(_, ty) => quote_spanned! { ty.span() => #krate::__private::check_outcome::<#ty>(); },
    };
    let values = types.iter().map(|_| quote!(#krate::__private::never()));
    let future = quote_spanned! { name.span() => #krate::__private::check_future(#name(#(#values),*)); };
    let check = format_ident!("__check_listener_{}", name);
    Ok(quote! {
        #function

        #[doc(hidden)]
        #[allow(warnings, clippy::all, clippy::pedantic, clippy::restriction)]
        const _: () = {
            fn #check() {
                #(#arguments)*
                #outcome
                #future
            }
        };
    })
}

/// The state that the arguments are parts of: the `T` of the only `State<T>`.
fn state_of(types: &[&Type]) -> Result<Type> {
    let mut found: Option<&Type> = None;
    for state in types.iter().filter_map(|ty| within_state(ty)) {
        match found {
            Some(other) if other != state => {
                let message = "two parts of the state: say what they are parts of, `#[listener(state = Shop)]`";
                return Err(Error::new(state.span(), message));
            }
            _ => found = Some(state),
        }
    }
    Ok(found.cloned().unwrap_or_else(|| parse_quote!(())))
}

fn within_state(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "State")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first()? {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }
}
