use super::*;
use crate::user::Group;

fn name(text: &str) -> UserName {
    UserName::parse(text).unwrap()
}

fn right(user: &str, admin: bool) -> Right {
    let user = User {
        name: name(user),
        admin,
        profiles: [Arc::from("lab")].into(),
        routes: [].into(),
        groups: [].into(),
        claims: crate::user::Claims::default(),
        memory: None,
        cpu: None,
    };
    Right { provider: "main".into(), user }
}

fn scopes(texts: &[&str]) -> Scopes {
    Scopes::parse(texts.iter().copied(), Some(&name("alice"))).unwrap()
}

fn group(provider: &str, path: &str) -> Group {
    Group { provider: provider.into(), path: path.into() }
}

/// Whether a token with these scopes does something to a user, or to a server of theirs.
fn reach(texts: &[&str], admin: bool, scope: Scope, whom: (&str, Option<&str>), groups: &[Group]) -> Reach {
    let user = name(whom.0);
    let server = whom.1.map(|server| ServerName::parse(server).unwrap());
    let target = Target::User { name: &user, server: server.as_ref(), groups };
    scopes(texts).reach(&[scope], &target, &right("alice", admin))
}

#[test]
fn a_scope_that_is_not_known_is_refused() {
    for (text, error) in [
        ("", ScopeError::Unknown),
        ("admin", ScopeError::Unknown),
        ("self", ScopeError::Unknown),
        ("SERVERS", ScopeError::Unknown),
        ("servers ", ScopeError::Unknown),
        ("read:users,servers", ScopeError::Unknown),
        ("!user", ScopeError::Unknown),
        ("access:servers!", ScopeError::Filter),
        ("access:servers!user=", ScopeError::Filter),
        ("access:servers!user=ALICE", ScopeError::Filter),
        ("access:servers!user=a/b", ScopeError::Filter),
        ("access:servers!user!user", ScopeError::Filter),
        ("access:servers!user=alice!user", ScopeError::Filter),
        ("access:servers!server", ScopeError::Filter),
        ("access:servers!server=alice", ScopeError::Filter),
        ("access:servers!server=alice/a/b", ScopeError::Filter),
        ("access:servers!server=../x", ScopeError::Filter),
        ("access:servers!service=x", ScopeError::Filter),
        ("access:services!user", ScopeError::Filter),
        ("access:services!service", ScopeError::Filter),
        ("access:services!service=", ScopeError::Filter),
        ("list:services!service=x", ScopeError::Filter),
        ("servers!group", ScopeError::Filter),
        ("servers!group=", ScopeError::Filter),
        ("servers!group=a\nb", ScopeError::Filter),
        ("read:users!server=alice/", ScopeError::Filter),
        ("read:groups!user", ScopeError::Filter),
        ("shutdown!user", ScopeError::Filter),
        ("proxy!group=/lab", ScopeError::Filter),
    ] {
        assert_eq!(Scoped::parse(text, Some(&name("alice"))), Err(error), "{text:?}");
    }
    let many = |count: usize| (0..count).map(|at| format!("servers!user=u{at}")).collect::<Vec<_>>();
    let parse = |texts: Vec<String>| Scopes::parse(texts.iter().map(String::as_str), None);
    assert!(parse(many(Scopes::MOST)).is_ok());
    assert_eq!(parse(many(Scopes::MOST + 1)), Err(ScopeError::TooMany));
    assert!(Filter::parse(&format!("group={}", "x".repeat(256)), None).is_none());
}

#[test]
fn scopes_are_written_as_they_are_read() {
    let alice = name("alice");
    let filters = ["user", "user=bob", "group=/lab/a", "group=a b%20\"ü\\", "server=bob/", "server=bob/gpu"];
    let mut read = 0;
    for scope in Scope::ALL {
        let texts = filters.iter().map(|filter| format!("{}!{filter}", scope.name()));
        for text in texts.chain([scope.name().to_owned()]) {
            let Ok(parsed) = Scoped::parse(&text, Some(&alice)) else { continue };
            assert_eq!(parsed.name(), text);
            let one: Scopes = [parsed].into_iter().collect();
            let words = one.to_string();
            assert!(!words.contains([' ', '"', '\\']) && words.is_ascii(), "RFC 6749: {words}");
            assert_eq!(Scopes::parse_words(&words, Some(&alice)), Ok(one), "{words}");
            read += 1;
        }
    }
    assert!(read > 2 * Scope::ALL.len(), "most take filters: {read}");
    let all: Scopes = Scope::ALL.into_iter().collect();
    assert_eq!(Scopes::parse_words(&all.to_string(), None), Ok(all));
    assert_eq!(Scopes::ordinary().to_string(), "access:servers servers!user read:users!user");
    assert_eq!(Scopes::none().to_string(), "");
    let given = scopes(&["servers!user=alice", "servers!user", "servers!group=x", "tokens", "tokens!user"]);
    assert_eq!(given.names(), ["servers!user", "servers!group=x", "tokens"], "none of them twice");
}

#[test]
fn a_filter_narrows() {
    use Reach::{Elsewhere, Lacks, Reaches};
    let gpu = Some("gpu");
    let lab = [group("main", "/lab")];
    for (text, scope, whom, groups, expected) in [
        ("servers", Scope::Servers, ("bob", gpu), &[][..], Reaches),
        ("servers!user", Scope::Servers, ("alice", gpu), &[], Reaches),
        ("servers!user", Scope::Servers, ("bob", gpu), &[], Elsewhere),
        ("servers!user=bob", Scope::Servers, ("bob", gpu), &[], Reaches),
        ("servers!user=bob", Scope::Servers, ("alice", gpu), &[], Elsewhere),
        ("servers!server=bob/gpu", Scope::Servers, ("bob", gpu), &[], Reaches),
        ("servers!server=bob/gpu", Scope::Servers, ("bob", Some("")), &[], Elsewhere),
        ("servers!server=bob/gpu", Scope::Servers, ("alice", gpu), &[], Elsewhere),
        ("servers!server=bob/gpu", Scope::ReadServers, ("bob", None), &[], Elsewhere),
        ("servers!server=bob/", Scope::DeleteServers, ("bob", Some("")), &[], Reaches),
        ("servers!group=/lab", Scope::Servers, ("bob", gpu), &lab, Reaches),
        ("servers!group=/lab", Scope::Servers, ("bob", gpu), &[], Elsewhere),
        ("servers!group=/lab", Scope::Tokens, ("bob", gpu), &lab, Lacks),
    ] {
        assert_eq!(reach(&[text], true, scope, whom, groups), expected, "{text} {scope:?} {whom:?}");
    }
    let others = [group("other", "/lab"), group("main", "/lab/a"), group("main", "lab")];
    let reached = reach(&["servers!group=/lab"], true, Scope::Servers, ("bob", None), &others);
    assert_eq!(reached, Elsewhere, "a group of another provider is another group");
    let own = [Group::own("/lab")];
    assert_eq!(reach(&["servers!group=/lab"], true, Scope::Servers, ("bob", None), &own), Reaches);
}

#[test]
fn a_scope_brings_its_parts_along_with_its_filter_and_nothing_more() {
    use Reach::{Elsewhere, Lacks, Reaches};
    let lab = [group("main", "/lab")];
    let admin = |text, scope, groups| reach(&[text], true, scope, ("bob", None), groups);
    for part in [Scope::Users, Scope::ReadUsers, Scope::ReadUsersGroups, Scope::ListUsers, Scope::Activity] {
        assert_eq!(admin("admin:users!group=/lab", part, &lab), Reaches, "{part:?}");
        assert_eq!(admin("admin:users!group=/lab", part, &[]), Elsewhere, "{part:?}");
        assert_eq!(admin("admin:servers", part, &lab), Lacks, "{part:?}");
    }
    assert_eq!(admin("admin:users", Scope::Tokens, &[]), Lacks);
    assert_eq!(admin("read:users", Scope::Users, &[]), Lacks, "a part is not the whole");
    assert_eq!(admin("servers", Scope::AccessServers, &[]), Lacks);
    assert_eq!(admin("shares", Scope::AccessServers, &[]), Lacks);
    let of_group = |text: &str, provider| {
        let lab = group(provider, "/lab");
        scopes(&[text]).reach(&[Scope::ReadGroupsName], &Target::Group(&lab), &right("alice", true))
    };
    assert_eq!(of_group("read:groups!group=/lab", "main"), Reaches);
    assert_eq!(of_group("read:groups!group=/lab", "other"), Elsewhere);
    assert_eq!(of_group("list:groups!group=/x", "main"), Elsewhere);
    assert_eq!(of_group("admin:users!group=/lab", "main"), Lacks);
    let seen = reach(&["read:groups!group=/lab"], true, Scope::ReadGroups, ("bob", None), &lab);
    assert_eq!(seen, Elsewhere, "a group is not whoever is in it");
}

#[test]
fn no_token_does_what_its_owner_may_not() {
    let all: Scopes = Scope::ALL.into_iter().collect();
    let (alice, bob) = (name("alice"), name("bob"));
    let reaches = |target: Target<'_>, admin, scope| {
        let reach = all.reach(&[scope], &target, &right("alice", admin));
        assert_eq!(right("alice", admin).reach(&[scope], &target) == Reach::Reaches, reach == Reach::Reaches);
        reach == Reach::Reaches
    };
    let of = |name| Target::User { name, server: None, groups: &[] };
    for scope in Scope::ALL {
        assert!(reaches(of(&alice), true, scope) && reaches(of(&bob), true, scope), "{scope:?}");
        assert_eq!(reaches(of(&alice), false, scope), !scope.is_admin(), "{scope:?}");
        // Whether bob lets them in is for shares to say.
        assert_eq!(reaches(of(&bob), false, scope), scope == Scope::AccessServers, "{scope:?}");
        assert!(!reaches(Target::Hub, false, scope), "{scope:?}");
        assert!(!reaches(Target::Group(&group("main", "/lab")), false, scope), "{scope:?}");
    }
    let dead = reach(&["admin:servers"], false, Scope::DeleteServers, ("alice", None), &[]);
    assert_eq!(dead, Reach::Lacks, "an administrator's scope is dead without the role");
}

#[test]
fn nobody_gives_away_what_is_not_theirs() {
    let alice = name("alice");
    let given =
        |texts: &[&str], held: &Scopes| scopes(texts).given_by(held, &alice).map(|given| given.names());
    let own = Scopes::of(&right("alice", false).user);
    let admin = Scopes::of(&right("alice", true).user);
    let some = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<Vec<_>>());
    // Without a filter, what there is: it does not grow when they become an administrator.
    assert_eq!(given(&["servers", "read:users"], &own), some(&["servers!user", "read:users!user"]));
    assert_eq!(given(&["servers"], &admin), some(&["servers"]));
    assert_eq!(
        given(&["access:servers"], &own),
        some(&["access:servers"]),
        "and whatever is shared with them"
    );
    assert_eq!(given(&["access:servers"], &admin), some(&["access:servers"]));
    let fine = ["servers!server=alice/gpu", "tokens!user=alice", "read:servers!user"];
    assert!(given(&fine, &own).is_some() && given(&fine, &admin).is_some());
    for beyond in [
        "servers!user=bob",
        "servers!server=bob/",
        "servers!group=/lab",
        "list:users",
        "list:users!user",
        "admin:users!user",
    ] {
        assert_eq!(given(&[beyond], &own), None, "{beyond}");
        assert_eq!(given(&["tokens", beyond], &own), None, "{beyond}");
        assert_eq!(scopes(&[beyond]).and(&own, &alice), Scopes::none(), "{beyond}");
        assert!(given(&[beyond], &admin).is_some(), "{beyond}");
    }
    for beyond in ["access:servers!user=bob", "access:servers!server=bob/", "access:servers!group=/lab"] {
        assert_eq!((given(&[beyond], &own), given(&[beyond], &admin)), (None, None), "{beyond}");
    }
    let visits = own.with_visits([(name("bob"), ServerName::default())]);
    assert!(given(&["access:servers!server=bob/"], &visits).is_some());
    assert_eq!(given(&["access:servers!server=bob/gpu"], &visits), None);
    // Of a token that makes another.
    let parent = scopes(&["servers!server=alice/gpu", "read:users!user"]);
    assert_eq!(given(&["read:servers"], &parent), some(&["read:servers!server=alice/gpu"]));
    assert_eq!(given(&["read:servers!user"], &parent), None);
    assert_eq!(given(&["read:users:name"], &parent), some(&["read:users:name!user"]));
    assert_eq!(given(&["access:servers"], &parent), None);
    assert!(Scopes::ordinary().given_by(&own, &alice) == Some(Scopes::ordinary()));
    assert!(!Scopes::ordinary().reaches_others(&right("alice", true).user));
    assert!(scopes(&["servers!group=/lab"]).reaches_others(&right("alice", true).user));
}

#[test]
fn what_is_beside_the_hub_is_reached_by_its_name_and_by_whom_the_rules_let() {
    let mut right = right("alice", false);
    right.user.routes = ["registry".into(), "grafana".into()].into();
    let reach = |texts: &[&str], name: &str| {
        scopes(texts).reach(&[Scope::AccessServices], &Target::Service(name), &right) == Reach::Reaches
    };
    assert!(reach(&["access:services"], "registry") && reach(&["access:services"], "grafana"));
    assert!(!reach(&["access:services"], "secret"), "no rule grants it");
    assert!(reach(&["access:services!service=registry"], "registry"));
    assert!(!reach(&["access:services!service=registry"], "grafana"));
    assert!(!reach(&["access:servers", "servers"], "registry"));
    let own = Scopes::of(&right.user);
    let one = scopes(&["access:services!service=registry"]);
    assert_eq!(one.given_by(&own, &right.user.name), Some(one.clone()));
    assert_eq!(scopes(&["access:services"]).given_by(&one, &right.user.name), Some(one));
}

#[test]
fn self_is_what_jupyterhub_means_by_it_and_what_is_not_here_says_why() {
    let own = scopes(&["self"]);
    assert!(own.iter().all(|entry| entry.filter == Some(Filter::Own)));
    let expanded = own.expanded(&name("alice"));
    for scope in [
        "read:users",
        "read:users:name",
        "read:users:groups",
        "users:shares",
        "read:users:shares",
        "read:shares",
        "users:activity",
        "read:users:activity",
        "servers",
        "delete:servers",
        "read:servers",
        "tokens",
        "read:tokens",
        "access:servers",
    ] {
        assert!(expanded.contains(&format!("{scope}!user=alice")), "{scope}: {expanded:?}");
    }
    assert!(!own.iter().any(|entry| entry.scope.includes(Scope::Shares)), "nor does it share there");
    let held = Scopes::of(&right("alice", false).user);
    assert_eq!(own.given_by(&held, &name("alice")), Some(own.clone()));
    for (absent, says) in [
        ("inherit", "no token has the scope inherit: only a token that makes another"),
        ("admin-ui", "for people"),
        ("read:roles:services!service=x", "no services here"),
    ] {
        let error = Scopes::parse([absent], None).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn clients_of_jupyterhub_read_every_part_by_its_name() {
    let alice = name("alice");
    let own = scopes(&["access:servers!user", "servers!server=alice/gpu"]).expanded(&alice);
    assert_eq!(
        own,
        [
            "access:servers!user=alice",
            "servers!server=alice/gpu",
            "read:servers!server=alice/gpu",
            "start:servers!server=alice/gpu",
            "delete:servers!server=alice/gpu",
        ]
    );
    let group = scopes(&["list:users!group=/lab"]).expanded(&alice);
    assert_eq!(group, ["read:users:name!group=/lab", "list:users!group=/lab"]);
}
