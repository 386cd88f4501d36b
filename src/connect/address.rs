//! Where a provider may be, from what an administrator has at hand: an issuer with or without `/auth`, `https://` or a
//! slash at its end, its description, a page of Keycloak. Pure.

use url::Url;

/// Where a description may be: one below each issuer that may be meant, the likeliest first. Nothing, when the text is
/// no address.
pub(super) fn candidates(text: &str) -> Vec<Url> {
    // `localhost:8080` alone parses, as a URL of the scheme `localhost`.
    let text = text.trim();
    let text = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let Ok(mut url) = Url::parse(&text) else { return Vec::new() };
    url.set_query(None);
    url.set_fragment(None);
    if !url.has_host() || url.cannot_be_a_base() {
        return Vec::new();
    }
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix(DOCUMENT).unwrap_or(path).trim_end_matches('/').to_owned();
    let mut paths = vec![path.clone()];
    paths.extend(realm_of_a_page(&path));
    let with_and_without: Vec<String> = paths.iter().filter_map(|path| other_prefix(path)).collect();
    paths.extend(with_and_without);
    let mut found: Vec<Url> = Vec::new();
    for path in paths {
        url.set_path(&format!("{path}{DOCUMENT}"));
        if !found.contains(&url) {
            found.push(url.clone());
        }
    }
    found
}

/// The issuer of which this would be the description, without a slash at its end.
pub(super) fn issuer_of(document: &Url) -> String {
    let text = document.as_str();
    text.strip_suffix(DOCUMENT).unwrap_or(text).to_owned()
}

/// The administration of a Keycloak's realm: `https://host/auth/realms/lab` has it at `https://host/auth/admin/realms/lab`.
pub(super) fn administration(issuer: &str) -> Option<Url> {
    let mut url = Url::parse(issuer).ok()?;
    let path = url.path().trim_end_matches('/');
    let (prefix, realm) = path.rsplit_once(REALMS)?;
    if realm.is_empty() || realm.contains('/') {
        return None;
    }
    let path = format!("{prefix}/admin{REALMS}{realm}");
    url.set_path(&path);
    url.set_query(None);
    Some(url)
}

/// The realm's name, as a Keycloak's issuer has it.
pub(super) fn realm(issuer: &str) -> Option<String> {
    let url = Url::parse(issuer).ok()?;
    let (_, realm) = url.path().trim_end_matches('/').rsplit_once(REALMS)?;
    (!realm.is_empty() && !realm.contains('/')).then(|| realm.to_owned())
}

/// Keycloak before version 17, and its container images with `--http-relative-path=/auth`, have it in front.
fn other_prefix(path: &str) -> Option<String> {
    let (prefix, realm) = path.split_once(REALMS)?;
    Some(match prefix.strip_suffix(LEGACY) {
        Some(prefix) => format!("{prefix}{REALMS}{realm}"),
        None => format!("{prefix}{LEGACY}{REALMS}{realm}"),
    })
}

/// Of `/admin/lab/console` and of whatever is below `/realms/lab`: `/realms/lab`.
fn realm_of_a_page(path: &str) -> Option<String> {
    if let Some((prefix, rest)) = path.split_once(REALMS) {
        let (realm, _page) = rest.split_once('/')?;
        return Some(format!("{prefix}{REALMS}{realm}"));
    }
    let (prefix, rest) = path.split_once("/admin/")?;
    let (realm, page) = rest.split_once('/')?;
    page.starts_with("console").then(|| format!("{prefix}{REALMS}{realm}"))
}

const DOCUMENT: &str = "/.well-known/openid-configuration";
const REALMS: &str = "/realms/";
const LEGACY: &str = "/auth";

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        candidates(text).iter().map(issuer_of).collect()
    }

    #[test]
    fn an_issuer_is_looked_for_with_and_without_the_old_prefix() {
        let both = ["https://kc.example/realms/lab", "https://kc.example/auth/realms/lab"];
        assert_eq!(found("https://kc.example/realms/lab"), both);
        assert_eq!(found("https://kc.example/auth/realms/lab"), [both[1], both[0]]);
        for same in [
            "https://kc.example/realms/lab/",
            "https://kc.example/realms/lab//",
            " kc.example/realms/lab\n",
            "https://kc.example/realms/lab/.well-known/openid-configuration",
            "https://kc.example/realms/lab?x=1#y",
        ] {
            assert_eq!(found(same), both, "{same}");
        }
        assert_eq!(
            found("http://localhost:8080/sso/realms/lab"),
            ["http://localhost:8080/sso/realms/lab", "http://localhost:8080/sso/auth/realms/lab"]
        );
        assert_eq!(found("https://op.example/"), ["https://op.example"]);
        assert_eq!(found("localhost:8080"), ["https://localhost:8080"]);
    }

    #[test]
    fn the_address_of_a_page_leads_to_its_realm() {
        for page in [
            "https://kc.example/realms/lab/account/",
            "https://kc.example/realms/lab/protocol/openid-connect/auth?client_id=x",
            "https://kc.example/admin/lab/console/#/lab/clients",
        ] {
            assert!(found(page).contains(&"https://kc.example/realms/lab".to_owned()), "{page}");
        }
        assert!(
            found("https://kc.example/auth/admin/lab/console/")
                .contains(&"https://kc.example/auth/realms/lab".to_owned())
        );
    }

    #[test]
    fn what_is_no_address_is_looked_for_nowhere() {
        for nothing in ["", " ", "https://", "mailto://", "a b", "data://x:y"] {
            assert!(found(nothing).is_empty(), "{nothing}: {:?}", found(nothing));
        }
    }

    #[test]
    fn the_administration_is_beside_the_realms() {
        let at = |issuer| administration(issuer).map(String::from);
        assert_eq!(at("https://kc.example/realms/lab").unwrap(), "https://kc.example/admin/realms/lab");
        assert_eq!(
            at("https://kc.example/auth/realms/l%20ab/").unwrap(),
            "https://kc.example/auth/admin/realms/l%20ab"
        );
        for other in
            ["https://op.example/", "https://op.example/realms/", "https://op.example/realms/a/b", ""]
        {
            assert_eq!(at(other), None, "{other}");
        }
        assert_eq!(realm("https://kc.example/auth/realms/l%20ab/").unwrap(), "l%20ab");
    }
}
