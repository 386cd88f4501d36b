//! What a page of Jupyter's asks by itself every few seconds, as long as it is open somewhere, whether somebody sits before it
//! or not.

use http::Method;

/// Whether a request for `below`, the part of a path behind a workspace's own, is such a look around.
pub(super) fn is_poll(method: &Method, below: &str, query: Option<&str>) -> bool {
    let Some(api) = below.strip_prefix("api/").filter(|_| *method == Method::GET) else { return false };
    match api {
        "kernels" | "kernelspecs" | "me" | "metrics/v1" | "sessions" | "status" | "terminals" => true,
        // The file browser lists the folder that it shows. A file is opened with its type.
        "contents" => is_listing(query),
        path if path.starts_with("contents/") => is_listing(query),
        _ => false,
    }
}

fn is_listing(query: Option<&str>) -> bool {
    let mut fields = query.unwrap_or_default().split('&').filter_map(|field| field.split_once('='));
    fields.find(|(name, _)| *name == "type").is_none_or(|(_, kind)| kind == "directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_only_open_polls_and_whoever_does_something_does_not() {
        let get = |target: &str| {
            let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
            is_poll(&Method::GET, path, query)
        };
        for poll in [
            "api/kernels",
            "api/kernels?1732600000000",
            "api/kernelspecs?1",
            "api/sessions",
            "api/terminals",
            "api/status",
            "api/me",
            "api/metrics/v1",
            "api/contents?content=1&hash=0&1732600000000",
            "api/contents/a%20folder?content=1",
            "api/contents/a?type=directory&_=1",
        ] {
            assert!(get(poll), "{poll}");
        }
        for used in [
            "",
            "lab",
            "api",
            "api/kernels/1",
            "api/kernels/1/channels",
            "api/contents/a.ipynb?type=notebook&content=1",
            "api/contents/a.txt?content=1&type=file&format=text",
            "api/contents/a.txt/checkpoints?type=file",
            "files/api/kernels",
            "tree",
        ] {
            assert!(!get(used), "{used}");
        }
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert!(!is_poll(&method, "api/kernels", None), "{method}");
        }
    }
}
