//! The provider's pages: plain HTML without scripts, in the reader's light or dark, for keyboards and screen readers.

/// The login form. It goes to `action`, which is escaped here.
pub(super) fn login(action: &str, wrong: bool) -> String {
    let alert = if wrong {
        r#"<p class="alert" role="alert">User name and password do not belong together. Both are printed in the terminal of the demo.</p>"#
    } else {
        ""
    };
    let action = escape(action);
    page(
        "Sign in",
        &format!(
            r#"{alert}
<form method="post" action="{action}">
<label for="username">User name</label>
<input id="username" name="username" autocomplete="username" autocapitalize="none" spellcheck="false" required autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button type="submit">Sign in</button>
</form>
<p class="note">This page plays the part of Keycloak in the demo of hubgate. The users and their passwords are printed in its terminal.</p>"#
        ),
    )
}

/// A title and a sentence.
pub(super) fn message(title: &str, text: &str) -> String {
    page(title, &format!("<p>{}</p>", escape(text)))
}

fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} – hubgate demo</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"#
    )
}

/// Safe in text and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

const STYLE: &str = "
:root { color-scheme: light dark; --ground: #f4f5f7; --paper: #fff; --ink: #1c2430; --soft: #556070; --line: #848d9a; --act: #1f5fae; --bad: #a3221a; }
@media (prefers-color-scheme: dark) { :root { --ground: #14181e; --paper: #1d232b; --ink: #e8ebef; --soft: #a5afbb; --line: #6d7886; --act: #2f74c8; --bad: #ff9d94; } }
body { margin: 0; background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 22rem; margin: 12vh auto; padding: 2rem; background: var(--paper); border-radius: .5rem; }
h1 { margin: 0 0 1rem; font-size: 1.5rem; }
label { display: block; margin-top: 1rem; font-weight: 600; }
input { box-sizing: border-box; width: 100%; margin-top: .25rem; padding: .5rem; font: inherit; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: .25rem; }
button { margin-top: 1.5rem; width: 100%; padding: .6rem; font: inherit; font-weight: 600; color: #fff; background: var(--act); border: 0; border-radius: .25rem; cursor: pointer; }
:focus-visible { outline: 3px solid var(--act); outline-offset: 2px; }
.alert { color: var(--bad); font-weight: 600; }
.note { margin-bottom: 0; color: var(--soft); font-size: .875rem; }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_says_is_only_text_in_a_page() {
        let html = login("/authorize?state=\"><script>'&", false);
        assert!(html.contains(r#"action="/authorize?state=&quot;&gt;&lt;script&gt;&#39;&amp;""#));
        assert!(!html.contains("<script"));
    }

    #[test]
    fn every_field_has_a_label() {
        let html = login("/", true);
        for id in ["username", "password"] {
            assert!(
                html.contains(&format!("<label for=\"{id}\">")) && html.contains(&format!("id=\"{id}\""))
            );
        }
        assert!(html.contains("role=\"alert\"") && html.contains("lang=\"en\""));
    }
}
