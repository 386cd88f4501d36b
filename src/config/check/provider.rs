//! `[provider]`: what can be known of it without asking it.

use url::{Host, Url};

use super::Findings;
use crate::config::units::Span;
use crate::config::{ClientAuthentication, Config, Provider, SigningAlgorithm};

pub(super) fn check(findings: &mut Findings<'_>, config: &Config) {
    if config.provider.is_empty() {
        findings.add("provider", "missing", "add [provider] with issuer, client_id and client_secret");
    }
    names(findings, config);
    findings.each_provider(config, one);
}

/// Several are told apart by their names, and by their hosts where they have any.
fn names(findings: &mut Findings<'_>, config: &Config) {
    let several = config.provider.len() > 1;
    for (index, provider) in config.provider.iter().enumerate() {
        let key = |name: &str| format!("provider[{index}].{name}");
        let earlier = || config.provider.iter().take(index);
        match &provider.name {
            None if several => {
                findings.add(&key("name"), "missing, and there are several", "add `name = \"…\"`");
            }
            Some(name) if !is_name(name) => findings.add(
                &key("name"),
                "not a name",
                "write 1 to 32 lower-case letters, digits and hyphens: it stands in addresses",
            ),
            Some(name) if earlier().any(|other| other.name() == name) => {
                findings.add(&key("name"), "the name of an earlier one", "give each a name of its own");
            }
            Some(_) | None => {}
        }
        let today =
            |former: &&String| config.provider.iter().any(|other| other.issuer.as_ref() == Some(*former));
        if provider.former_issuers.iter().any(|former| today(&former)) {
            findings.add(
                &key("former_issuers"),
                "the issuer of a provider of today",
                "take it out: its people are its own",
            );
        }
        let Some(host) = &provider.host else { continue };
        let parsed = Host::parse(host).map(|host| host.to_string());
        if !parsed.is_ok_and(|parsed| parsed == *host) {
            findings.add(
                &key("host"),
                "not a host name",
                "write \"eth.hub.example.org\", without scheme and port",
            );
        } else if config.public.url.host_str() == Some(host) {
            findings.add(
                &key("host"),
                "the host of public.url",
                "take it out: who has no host of its own is chosen there",
            );
        } else if earlier().any(|other| other.host.as_ref() == Some(host)) {
            findings.add(&key("host"), "the host of an earlier one", "give each a host of its own");
        }
    }
}

fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(letter)
}

fn one(findings: &mut Findings<'_>, provider: &Provider) {
    endpoints(findings, provider);
    description(findings, provider);
    client(findings, provider);
    request(findings, provider);
    answer(findings, provider);
    for (key, value) in [
        ("provider.client_id", &provider.client_id),
        ("provider.username_claim", &provider.username_claim),
        ("provider.groups_claim", &provider.groups_claim),
    ] {
        if value.is_empty() {
            findings.add(key, "empty", "write its name, or leave the key out if it has a default");
        }
    }
    findings.positive("provider.timeout", provider.timeout);
    if provider.clock_skew > MOST_SKEW {
        findings.add(
            "provider.clock_skew",
            "so much would accept tokens long expired",
            "write at most \"5min\", and run NTP",
        );
    }
}

/// Either the issuer, or the three URLs.
fn endpoints(findings: &mut Findings<'_>, provider: &Provider) {
    let urls = [
        ("provider.authorize_url", &provider.authorize_url),
        ("provider.token_url", &provider.token_url),
        ("provider.userdata_url", &provider.userdata_url),
    ];
    let given = urls.iter().filter(|(_, url)| url.is_some()).count();
    match (&provider.issuer, given) {
        (None, 0) => findings.add(
            "provider.issuer",
            "missing",
            "add `issuer = \"https://keycloak.example.org/realms/lab\"`, or authorize_url, token_url and userdata_url",
        ),
        (Some(_), 1..) => findings.add(
            "provider.issuer",
            "given beside authorize_url, token_url or userdata_url",
            "keep the issuer: the URLs are found from it",
        ),
        (None, 1..) => {
            for (key, _) in urls.iter().filter(|(_, url)| url.is_none()) {
                findings.add(key, "missing", "give all three URLs, or `issuer` in their place");
            }
        }
        (Some(_), 0) => {}
    }
    let insecure = provider.insecure_http;
    for (key, url) in urls.into_iter().chain([("provider.logout_url", &provider.logout_url)]) {
        if let Some(url) = url {
            endpoint(findings, key, url, insecure);
        }
    }
}

/// The issuer, and where its description is read.
fn description(findings: &mut Findings<'_>, provider: &Provider) {
    let insecure = provider.insecure_http;
    match provider.issuer.as_deref().map(Url::parse) {
        None => {}
        Some(Ok(url)) if url.query().is_some() || url.fragment().is_some() => findings.add(
            "provider.issuer",
            "an issuer has no query and no fragment",
            "write it as the provider does",
        ),
        Some(Ok(url)) => endpoint(findings, "provider.issuer", &url, insecure),
        Some(Err(_)) => {
            findings.add("provider.issuer", "not a URL", "write \"https://keycloak.example.org/realms/lab\"");
        }
    }
    if provider.issuer.is_none() && !provider.former_issuers.is_empty() {
        findings.add(
            "provider.former_issuers",
            "given without an issuer",
            "add `issuer`, as the provider calls itself now",
        );
    }
    let Some(url) = &provider.discovery_url else { return };
    endpoint(findings, "provider.discovery_url", url, insecure);
    if provider.issuer.is_none() {
        findings.add(
            "provider.discovery_url",
            "given without an issuer",
            "add `issuer`, as the provider calls itself: what is read there is believed only from it",
        );
    }
}

fn endpoint(findings: &mut Findings<'_>, key: &str, url: &Url, insecure_http: bool) {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback || insecure_http => {}
        "http" => findings.add(
            key,
            "without TLS, anybody on the way could sign in as anybody",
            "write https, and `ca_file` for a certificate of your own authority",
        ),
        _ => findings.add(key, "not an https URL", "write \"https://…\""),
    }
    if !url.username().is_empty() || url.password().is_some() {
        findings.add(
            key,
            "holds a user or a password",
            "take it out: client_id and client_secret say who asks",
        );
    }
}

/// The client proves who it is by a secret, or by a key, and says nothing of the other.
fn client(findings: &mut Findings<'_>, provider: &Provider) {
    let by_key = provider.client_authentication == ClientAuthentication::PrivateKeyJwt;
    match (by_key, &provider.client_secret, &provider.client_key) {
        (false, None, _) => findings.add(
            "provider.client_secret",
            "missing",
            "add `client_secret = { credential = \"…\" }`, or `client_key` with client_authentication = \"private_key_jwt\"",
        ),
        (true, _, None) => findings.add(
            "provider.client_key",
            "missing, and private_key_jwt signs with it",
            "add `client_key = { credential = \"…\" }`",
        ),
        _ => {}
    }
    if by_key && provider.client_secret.is_some() {
        findings.add(
            "provider.client_secret",
            "not used with private_key_jwt",
            "take it out, here and at the provider: what is not there cannot be stolen",
        );
    }
    let of_the_key = [
        ("provider.client_key", provider.client_key.is_some()),
        ("provider.client_key_id", provider.client_key_id.is_some()),
        ("provider.client_key_algorithm", provider.client_key_algorithm.is_some()),
    ];
    for (key, _) in of_the_key.iter().filter(|(_, given)| *given && !by_key) {
        findings.add(
            key,
            "used with private_key_jwt only",
            "add `client_authentication = \"private_key_jwt\"`, or take it out",
        );
    }
    if !provider.client_key_algorithm.is_none_or(can_sign) {
        findings.add(
            "provider.client_key_algorithm",
            "not a way in which hubgate signs",
            "write \"RS256\", \"PS256\" or \"ES256\", or leave it out: it follows from the key",
        );
    }
}

fn can_sign(algorithm: SigningAlgorithm) -> bool {
    matches!(algorithm, SigningAlgorithm::Rs256 | SigningAlgorithm::Ps256 | SigningAlgorithm::Es256)
}

/// What is asked for at a login.
fn request(findings: &mut Findings<'_>, provider: &Provider) {
    if provider.issuer.is_some() && !provider.scopes.iter().any(|scope| scope == "openid") {
        findings.add("provider.scopes", "without openid there is no ID token", "add \"openid\"");
    }
    // RFC 6749 section 3.3.
    let scope = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let word = |byte: u8| byte.is_ascii_graphic();
    words(findings, "provider.scopes", &provider.scopes, scope);
    words(findings, "provider.acr_values", &provider.acr_values, word);
    words(findings, "provider.identity_provider_hints", &provider.identity_provider_hints, word);
    let checked = [
        ("provider.acr_values", !provider.acr_values.is_empty()),
        ("provider.max_age", provider.max_age.is_some()),
    ];
    for (key, _) in checked.iter().filter(|(_, given)| *given && provider.issuer.is_none()) {
        findings.add(
            key,
            "cannot be checked without an ID token",
            "describe the provider by `issuer`, or take it out",
        );
    }
}

/// What of the provider is believed.
fn answer(findings: &mut Findings<'_>, provider: &Provider) {
    if provider.signing_algorithms.is_empty() {
        findings.add(
            "provider.signing_algorithms",
            "no token could be verified",
            "write [\"RS256\"], or how the provider signs for this client",
        );
    }
    let any = |byte: u8| !byte.is_ascii_control();
    words(findings, "provider.former_issuers", &provider.former_issuers, any);
    words(findings, "provider.trusted_audiences", &provider.trusted_audiences, any);
    words(findings, "provider.api_clients", &provider.api_clients, any);
}

pub(super) fn words(findings: &mut Findings<'_>, key: &str, list: &[String], allowed: impl Fn(u8) -> bool) {
    for (index, word) in list.iter().enumerate() {
        if word.is_empty() || !word.bytes().all(&allowed) {
            findings.add(&format!("{key}[{index}]"), "not one word", "write each as an element of its own");
        }
    }
}

const MOST_SKEW: Span = Span::seconds(300);
