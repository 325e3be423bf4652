//! Buckets of S3 and of servers that speak like it.
//!
//! Which server answers and who asks is said by the environment, never by a pipeline file: `AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`,
//! `AWS_SKIP_SIGNATURE` and the others that `object_store` knows; without keys, the role of the machine or container.
//! No message shows a key, a token or a signature.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::HttpError;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};

use super::SourceError;

/// A request is tried again so often, after 0.1 s and twice as long each time, as long as [`RETRY_TIME_MAX`] is not over.
const RETRIES_MAX: usize = 3;
const RETRY_TIME_MAX: Duration = Duration::from_secs(60);
/// A connection that does not open, and an answer that does not go on, are given up; the environment may say otherwise
/// (`AWS_CONNECT_TIMEOUT`, `AWS_READ_TIMEOUT`, `AWS_TIMEOUT`).
const TIMEOUTS: [(ClientConfigKey, &str); 3] = [
    (ClientConfigKey::ConnectTimeout, "5 seconds"),
    (ClientConfigKey::ReadTimeout, "30 seconds"),
    (ClientConfigKey::Timeout, "10 minutes"),
];
/// Variables that say who asks. Without any, the machine's role is asked for.
const IDENTITIES: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
];

/// What is known about a bucket, to say why it cannot be read.
#[derive(Debug)]
pub(super) struct Bucket {
    name: String,
    server: String,
    has_identity: bool,
}

/// The variables of this process that [`open`] reads.
pub(super) fn environment() -> impl Iterator<Item = (String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text)
}

/// Makes the client of a bucket; nothing is asked yet.
pub(super) fn open(
    location: &str,
    name: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<(Arc<dyn ObjectStore>, Bucket), SourceError> {
    let mut builder = AmazonS3Builder::new().with_retry(RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_TIME_MAX,
    });
    for (key, value) in TIMEOUTS {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    let mut has_identity = false;
    for (variable, value) in variables {
        let Some(key) = variable.starts_with("AWS_").then(|| variable.to_ascii_lowercase().parse().ok()).flatten()
        else {
            continue;
        };
        has_identity |= IDENTITIES.contains(&variable.as_str());
        builder = builder.with_config(key, value);
    }
    builder = builder.with_bucket_name(name);

    let said = |key| builder.get_config_value(&key);
    let endpoint = said(AmazonS3ConfigKey::S3Endpoint).or_else(|| said(AmazonS3ConfigKey::Endpoint));
    let is_yes = |said: String| ["true", "1", "yes", "y", "on"].contains(&said.to_lowercase().as_str());
    let allows_http = said(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)).is_some_and(is_yes);
    let server = match &endpoint {
        Some(endpoint) => without_user(endpoint),
        None => {
            let region = said(AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".into());
            format!("https://s3.{region}.amazonaws.com")
        }
    };
    let bad = |cause: String| SourceError::BadLocation { location: location.to_owned(), cause };
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) && !allows_http {
        return Err(bad(format!("{server} is not encrypted; set AWS_ALLOW_HTTP=true to read from it all the same")));
    }
    install_cryptography();
    let store = builder.build().map_err(|error| bad(innermost(&error).to_string()))?;
    Ok((Arc::new(store), Bucket { name: name.to_owned(), server, has_identity }))
}

impl Bucket {
    /// The URL of an object.
    pub(super) fn url(&self, path: &Path) -> String {
        format!("s3://{}/{path}", self.name)
    }

    /// What went wrong with `path`, in the words of who can do something about it.
    pub(super) fn explain(&self, path: &Path, error: &object_store::Error) -> SourceError {
        let (location, server) = (self.url(path), self.server.clone());
        if let Some(cause) = transport_failure(error) {
            // Without an identity the first request goes to the machine's own service for roles.
            return if !self.has_identity && error_text(error).contains("/latest/") {
                SourceError::NoIdentity { location }
            } else {
                SourceError::Unreachable { location, server, cause }
            };
        }
        let answer = Answer::of(error);
        match answer.code.as_str() {
            "NoSuchBucket" => SourceError::NoSuchBucket { bucket: self.name.clone(), location, server },
            "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "redirect" => {
                SourceError::WrongRegion { bucket: self.name.clone(), location, server }
            }
            _ if answer.is_refusal => SourceError::AccessDenied { location, server, reason: answer.text() },
            _ => SourceError::Storage { location, cause: format!("{server} says {}", answer.text()) },
        }
    }
}

/// Whether the server was not even reached, or broke off: asking otherwise will not tell more.
pub(super) fn is_transport_failure(error: &object_store::Error) -> bool {
    transport_failure(error).is_some()
}

/// What a server answered instead of the object.
struct Answer {
    /// S3's word for it, or the HTTP status where the answer has none.
    code: String,
    message: String,
    is_refusal: bool,
}

impl Answer {
    /// `object_store` keeps status and body only in its text.
    fn of(error: &object_store::Error) -> Answer {
        let text = error_text(error);
        let element = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            rest.split_once(&format!("</{name}>")).map(|(content, _)| content.trim().to_owned())
        };
        let status = text.split_once("status code: ").map(|(_, rest)| rest.split(':').next().unwrap_or(rest).trim());
        let is_refusal =
            matches!(error, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. })
                || status.is_some_and(|status| status.starts_with("401") || status.starts_with("403"));
        let fallback = match status {
            Some(status) => status.to_owned(),
            None if text.contains("redirect") => "redirect".to_owned(),
            None => innermost(error).to_string(),
        };
        Answer {
            code: element("Code").unwrap_or(fallback),
            message: element("Message").unwrap_or_default(),
            is_refusal,
        }
    }

    fn text(&self) -> String {
        // What follows a semicolon is advice, so an answer has none.
        let message = self.message.replace(';', ",");
        if message.is_empty() { self.code.clone() } else { format!("{}: {}", self.code, message.trim_end_matches('.')) }
    }
}

/// The cause where no answer came.
fn transport_failure(error: &object_store::Error) -> Option<String> {
    chain(error).find(|error| error.is::<HttpError>()).map(|error| innermost(error).to_string())
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn innermost<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    chain(error).last().unwrap_or(error)
}

/// Every cause, since which of them repeat those below differs.
fn error_text(error: &object_store::Error) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// An address without user and password.
fn without_user(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => {
            format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host).trim_end_matches('/'))
        }
        None => address.to_owned(),
    }
}

/// The client of `object_store` takes the process's choice, of which there is one: where another part of the process
/// has chosen already, its choice stays.
fn install_cryptography() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let keys = [("AWS_ACCESS_KEY_ID", "name"), ("AWS_SECRET_ACCESS_KEY", "very secret")];
        keys.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn bucket(pairs: &[(&str, &str)]) -> Result<Bucket, SourceError> {
        open("s3://sales/a.csv", "sales", variables(pairs)).map(|(_, bucket)| bucket)
    }

    #[test]
    fn the_server_is_what_the_environment_says() {
        let check = |pairs: &[(&str, &str)], server: &str| assert_eq!(bucket(pairs).unwrap().server, server);
        check(&[], "https://s3.us-east-1.amazonaws.com");
        check(&[("AWS_REGION", "eu-north-1")], "https://s3.eu-north-1.amazonaws.com");
        check(&[("AWS_ENDPOINT_URL", "https://user:word@minio:9000/")], "https://minio:9000");
        check(&[("AWS_ENDPOINT_URL", "http://minio"), ("AWS_ALLOW_HTTP", "true")], "http://minio");
        let message = bucket(&[("AWS_ENDPOINT_URL", "http://minio")]).unwrap_err().to_string();
        assert!(message.contains("set AWS_ALLOW_HTTP=true"), "{message}");
    }

    #[test]
    fn half_an_identity_is_named() {
        let only = [("AWS_ACCESS_KEY_ID".to_owned(), "name".to_owned())];
        let message = open("s3://sales", "sales", only).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("SecretAccessKey"), "{message}");
    }

    fn explained(error: object_store::Error) -> String {
        bucket(&[("AWS_ENDPOINT_URL", "https://minio")]).unwrap().explain(&Path::from("a/b.csv"), &error).to_string()
    }

    #[test]
    fn an_answer_is_told_by_its_code() {
        let check = |status: &str, body: &str, parts: &[&str]| {
            let source = format!("Server returned non-2xx status code: {status}: {body}").into();
            let message = explained(object_store::Error::Generic { store: "S3", source });
            for part in parts.iter().chain(&["s3://sales/a/b.csv", "https://minio"]) {
                assert!(message.contains(part), "{part}: {message}");
            }
        };
        let body = |code: &str| format!("<Error><Code>{code}</Code><Message>Because; so.</Message></Error>");
        check("404 Not Found", &body("NoSuchBucket"), &["no bucket \"sales\"", "AWS_ENDPOINT_URL"]);
        check("403 Forbidden", &body("InvalidAccessKeyId"), &["InvalidAccessKeyId: Because, so;", "AWS_ACCESS_KEY_ID"]);
        check("403 Forbidden", "", &["403 Forbidden; "]);
        check("301 Moved", &body("PermanentRedirect"), &["AWS_REGION"]);
        check("500 Internal", &body("InternalError"), &["https://minio says InternalError: Because, so"]);
    }

    #[test]
    fn no_answer_is_told_with_its_cause() {
        use object_store::client::HttpErrorKind;
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let source = Box::new(HttpError::new(HttpErrorKind::Connect, refused));
        let message = explained(object_store::Error::Generic { store: "S3", source });
        assert!(message.contains("no answer from https://minio: connection refused"), "{message}");
    }
}
