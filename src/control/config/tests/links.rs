//! `expose` and `links`.

use super::*;
use crate::control::model::{HostIndex, Model};

const BASE: &str = "
[network.bridge]
subnet = \"172.17.0.0/16\"
[network.other]
subnet = \"172.18.0.0/16\"
[port.db]
address = \"172.17.0.2\"
expose = [\"5432\", \"8000-8001/udp\"]
publish = [\"80:80\"]
[port.far]
network = \"other\"
address = \"172.18.0.2\"
[port.mute]
[port.web]
address = \"172.17.0.3\"
";

fn errors(line: &str) -> String {
    Config::parse("f", &format!("{BASE}{line}")).unwrap_err().to_string()
}

#[test]
fn links_and_what_they_tell_of_are_in_the_model() {
    let text = format!("{BASE}links = [\"db:database\"]\n");
    let model = Model::new(&Config::parse("f", &text).unwrap().config);
    let index = HostIndex::of(&model);
    let web = index.host("web").unwrap();
    let [link] = index.links(web).try_into().unwrap();
    assert_eq!((link.target.as_str(), link.alias.as_str()), ("db", "database"));
    assert_eq!(link.address.to_string(), "172.17.0.2");
    let ports: Vec<String> = link.ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["80/tcp", "5432/tcp", "8000/udp", "8001/udp"]);
    assert!(index.links(index.host("db").unwrap()).is_empty());
}

#[test]
fn a_link_that_leads_nowhere_is_named() {
    for (line, error) in [
        ("links = [\"nobody\"]", "port.web.links: there is no host nobody; add [port.nobody]"),
        ("links = [\"web:me\"]", "port.web.links: web is the host itself; leave it out"),
        ("links = [\"far\"]", "host far is on network other, not on bridge; let both join one"),
        ("links = [\"mute\"]", "port.web.links: host mute has no address; give it one"),
        ("links = [\"db:x\", \"db:x\"]", "port.web.links: alias x is given twice"),
        ("links = [\"a:b:c\"]", "\"a:b:c\" is not a link; write NAME or NAME:ALIAS"),
        ("expose = [\"http\"]", "port.web.expose: \"http\": \"http\" is not a port"),
    ] {
        let said = errors(line);
        assert!(said.contains(error), "{line}: {said}");
    }
    let many = vec!["\"db\""; 65].join(", ");
    assert!(errors(&format!("links = [{many}]")).contains("more than 64"));
}
