//! Where a database is, and what of that may be shown.

use std::path::Path;

use crate::sources::SourceError;
use crate::sources::error::near_names;

/// A database that does not answer at all is given up after this time.
const CONNECT_TIMEOUT_S: u32 = 10;
/// Variables whose names hold one of these are never shown, wherever they stand.
const SECRET_NAMES: [&str; 5] = ["PASS", "PWD", "SECRET", "TOKEN", "KEY"];
/// What of `key=value` settings says which database it is.
const PUBLIC_KEYS: [&str; 4] = ["host", "hostaddr", "port", "dbname"];

/// A database that can be asked.
pub(super) struct Target {
    /// With every variable's value.
    pub(super) uri: String,
    /// Without user, password and options.
    pub(super) shown: String,
    secrets: Vec<String>,
}

impl Target {
    /// A server at a URL or at `key=value` settings.
    pub(super) fn of_server(template: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Target, SourceError> {
        let mut target = Target::expand(template, variable)?;
        if !target.uri.contains("connect_timeout") {
            let separator = match (target.uri.contains("://"), target.uri.contains('?')) {
                (true, false) => "?",
                (true, true) => "&",
                (false, _) => " ",
            };
            target.uri += &format!("{separator}connect_timeout={CONNECT_TIMEOUT_S}");
        }
        Ok(target)
    }

    /// A SQLite file, read only: without that a wrong path would make an empty database.
    pub(super) fn of_file(
        template: &str,
        variable: impl Fn(&str) -> Option<String>,
        base_dir: &Path,
    ) -> Result<Target, SourceError> {
        let target = Target::expand(template, variable)?;
        let path = target.uri.strip_prefix("file:").unwrap_or(&target.uri);
        let path = base_dir.join(path.split_once('?').map_or(path, |(path, _)| path));
        if !path.is_file() {
            let names: Vec<String> = path
                .parent()
                .and_then(|folder| {
                    std::fs::read_dir(if folder.as_os_str().is_empty() { ".".as_ref() } else { folder }).ok()
                })
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let near = near_names(&name, names.iter().map(String::as_str));
            return Err(SourceError::NotFound { location: target.shown, near });
        }
        let escaped = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        Ok(Target { uri: format!("file:{escaped}?mode=ro"), ..target })
    }

    /// Puts the values of variables in the places of `${NAME}`.
    fn expand(template: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Target, SourceError> {
        let bad = |cause: String| SourceError::BadLocation { location: public_part(template), cause };
        let mut uri = String::new();
        let mut secrets = Vec::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| bad("a `${` is not closed; write ${NAME} for an environment variable".into()))?;
            let value = variable(name).ok_or_else(|| {
                bad(format!(
                    "the environment variable {name} is not set; set it, or write the value instead of ${{{name}}}"
                ))
            })?;
            uri += before;
            // Within a URL, before the `@`, a password may hold what would end it.
            let user = uri.split_once("://").map(|(_, user)| user);
            let user = user.filter(|_| after.split(['/', '?']).next().is_some_and(|part| part.contains('@')));
            let is_password = user.is_some_and(|user| user.contains(':'));
            let written = if user.is_some() { percent_encoded(&value) } else { value.clone() };
            uri += &written;
            if is_password || SECRET_NAMES.iter().any(|secret| name.to_uppercase().contains(secret)) {
                secrets.extend([written, value]);
            }
            rest = after;
        }
        uri += rest;
        secrets.extend(passwords(&uri));
        secrets.retain(|secret| !secret.is_empty());
        // A secret that is part of another must not leave the rest of it standing.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Ok(Target { shown: public_part(&uri), uri, secrets })
    }

    /// A message on one line, without what must not be shown; nor has it a semicolon, since advice follows one.
    pub(super) fn scrub(&self, message: &str) -> String {
        let mut text = message.replace(&self.uri, &self.shown);
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), "***");
        }
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        line.replace(';', ",").trim_end_matches(['.', '?']).to_owned()
    }
}

/// Which database `uri` names, without user, password and options.
pub(super) fn public_part(uri: &str) -> String {
    if let Some((scheme, rest)) = uri.split_once("://") {
        // Whatever stands before the last `@` may be a password.
        let address = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
        return format!("{scheme}://{}", address.split('?').next().unwrap_or_default());
    }
    if !uri.contains('=') {
        return uri.to_owned();
    }
    let is_public = |setting: &&str| setting.split_once('=').is_some_and(|(key, _)| PUBLIC_KEYS.contains(&key));
    uri.split_whitespace().filter(is_public).collect::<Vec<_>>().join(" ")
}

/// Every password in `uri`, as it stands there and as it is meant.
pub(super) fn passwords(uri: &str) -> Vec<String> {
    let of_user = uri
        .split_once("://")
        .and_then(|(_, rest)| rest.rsplit_once('@'))
        .and_then(|(user, _)| user.split_once(':'))
        .map(|(_, password)| password);
    let of_settings = uri
        .split(|c: char| c == '?' || c == '&' || c.is_whitespace())
        .filter_map(|setting| setting.split_once('='))
        .filter(|(key, _)| key.ends_with("password"))
        .map(|(_, value)| value.trim_matches('\''));
    let stands = of_user.into_iter().chain(of_settings);
    stands.flat_map(|password| [password.to_owned(), percent_decoded(password)]).collect()
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let digits = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digits(at + 1)) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "SHOP_USER" => Some("ada".into()),
            "SHOP_PASSWORD" => Some("p@ss/w:rd".into()),
            "SHOP_HOST" => Some("db.example:5433".into()),
            "SHOP_URL" => Some("postgresql://ada:hidden@db/shop?sslmode=require".into()),
            _ => None,
        }
    }

    #[test]
    fn variables_stand_for_their_values_and_secrets_are_not_shown() {
        let check = |template: &str, uri: &str, shown: &str| {
            let target = Target::of_server(template, variable).unwrap();
            assert_eq!((target.uri.as_str(), target.shown.as_str()), (uri, shown));
            let secret = if template.contains("PASSWORD") { "p@ss/w:rd, p%40ss%2Fw%3Ard" } else { "hidden" };
            let said = target.scrub(&format!("cannot open {uri}:\n\tas ada with {secret}; sorry."));
            let hidden = if template.contains("PASSWORD") { "***, ***" } else { "***" };
            assert_eq!(said, format!("cannot open {shown}: as ada with {hidden}, sorry"));
        };
        check(
            "postgresql://${SHOP_USER}:${SHOP_PASSWORD}@${SHOP_HOST}/shop",
            "postgresql://ada:p%40ss%2Fw%3Ard@db.example:5433/shop?connect_timeout=10",
            "postgresql://db.example:5433/shop",
        );
        check(
            "${SHOP_URL}",
            "postgresql://ada:hidden@db/shop?sslmode=require&connect_timeout=10",
            "postgresql://db/shop",
        );
        check(
            "host=db dbname=shop user=ada password=hidden",
            "host=db dbname=shop user=ada password=hidden connect_timeout=10",
            "host=db dbname=shop",
        );
        check(
            "postgresql://db/shop?connect_timeout=3&password=hidden",
            "postgresql://db/shop?connect_timeout=3&password=hidden",
            "postgresql://db/shop",
        );
    }

    #[test]
    fn a_wrong_template_says_what_is_wrong_and_no_more() {
        let check = |template: &str, part: &str| {
            let message = Target::of_server(template, variable).map(|_| ()).unwrap_err().to_string();
            assert!(message.contains(part) && !message.contains("word"), "{message}");
        };
        check("postgresql://ada:word@${NOWHERE}/shop", "the environment variable NOWHERE is not set; set it");
        check("postgresql://ada:word@${NOWHERE", "is not closed");
    }

    #[test]
    fn a_sqlite_file_must_be_there_and_is_only_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("shop #1.db"), "").unwrap();
        let target = Target::of_file("shop #1.db", variable, folder.path()).unwrap();
        assert_eq!(target.uri, format!("file:{}/shop %231.db?mode=ro", folder.path().display()));
        let message = Target::of_file("shop.db", variable, folder.path()).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("shop.db: no such file"), "{message}");
    }
}
