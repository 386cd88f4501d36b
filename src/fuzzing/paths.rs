//! Judges paths.

use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization as _;
use url::Url;

use crate::routes::Route;

/// A path of a request line. However it is read, it leads to the workspace that was found, or to none.
pub fn route(data: &[u8]) -> bool {
    let Ok(path) = str::from_utf8(data) else { return false };
    let Ok(route) = Route::find(path) else { return false };
    let owner = match &route {
        Route::Workspace { owner, .. } => Some(&**owner),
        Route::Own(_) | Route::Unknown => None,
    };
    assert!(path.starts_with('/') && path.is_ascii(), "{path:?}");
    let mut reading = path.to_owned();
    for _ in 0..DECODINGS {
        for other in
            [reading.clone(), reading.replace('\\', "/"), cut(&reading), without_parameters(&reading)]
        {
            let segments_decoded = workspace(other.split('/').map(decoded));
            assert_eq!(segments_decoded.as_deref(), owner, "{path:?} read as {other:?}");
            let wholly_decoded = workspace(decoded(&other).split('/').map(str::to_owned));
            assert_eq!(wholly_decoded.as_deref(), owner, "{path:?} read as {other:?}");
        }
        if let Ok(url) = Url::parse(&format!("https://hub.example{reading}")) {
            let seen = workspace(url.path().split('/').map(decoded));
            assert_eq!(seen.as_deref(), owner, "{path:?} read as {url}");
        }
        reading = decoded(&reading);
    }
    true
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Whose workspace a path is, after all that servers do: segments that are empty or `.` left out, `..` followed, case
/// and compatibility forms folded.
fn workspace(parts: impl Iterator<Item = String>) -> Option<String> {
    let mut segments: Vec<String> = Vec::new();
    for segment in parts {
        let folded: String = segment.nfkc().flat_map(char::to_lowercase).collect();
        match folded.trim_matches(|c: char| c.is_whitespace() || c.is_control()) {
            "" | "." => {}
            ".." => drop(segments.pop()),
            plain => segments.push(plain.to_owned()),
        }
    }
    let mut segments = segments.into_iter();
    segments.next().filter(|first| first == "user")?;
    segments.next()
}

/// Up to what would begin a query or a fragment.
fn cut(path: &str) -> String {
    path.split(['?', '#']).next().unwrap_or_default().to_owned()
}

/// As servers of Java do: each segment up to its `;`.
fn without_parameters(path: &str) -> String {
    let segments: Vec<&str> =
        path.split('/').map(|part| part.split(';').next().unwrap_or_default()).collect();
    segments.join("/")
}

/// By servers that decode what was decoded.
const DECODINGS: usize = 3;
