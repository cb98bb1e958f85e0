use http::Method;

use super::*;

/// What the API's specification, and what a mistake costs, make of each operation: name, method, class, and whether it replaces
/// state, is one-shot, and names a tunnel.
const FACTS: [(Operation, &str, Method, Class, [bool; 3]); 8] = [
    (Operation::List, "list", Method::GET, Class::Read, [false, false, false]),
    (Operation::Create, "create", Method::POST, Class::Write, [false, true, false]),
    (Operation::BulkUpdate, "bulk_update", Method::PUT, Class::Write, [true, false, false]),
    (Operation::Get, "get", Method::GET, Class::Read, [false, false, true]),
    (Operation::Update, "update", Method::PUT, Class::Write, [true, false, true]),
    (Operation::Delete, "delete", Method::DELETE, Class::Write, [true, false, true]),
    (Operation::GeneratePsk, "generate_psk", Method::POST, Class::Secret, [false, true, true]),
    (Operation::SetPsks, "set_psks", Method::POST, Class::Secret, [false, true, false]),
];

#[test]
fn each_operation_is_what_the_specification_says() {
    assert_eq!(FACTS.each_ref().map(|fact| fact.0), Operation::ALL);
    for (operation, name, method, class, [replaces, one_shot, names]) in FACTS {
        assert_eq!(operation.name(), name);
        assert_eq!(Operation::from_name(name), Some(operation));
        assert_eq!((operation.method(), operation.class()), (method, class), "{name}");
        assert_eq!(operation.is_write(), class != Class::Read, "{name}");
        assert_eq!(operation.replaces_state(), replaces, "{name}");
        assert_eq!(operation.is_one_shot(), one_shot, "{name}");
        assert_eq!(operation.names_tunnel(), names, "{name}");
    }
    assert_eq!(Operation::from_name(""), None);
    assert_eq!(Operation::from_name("List"), None);
}

#[test]
fn each_class_has_the_name_that_the_configuration_knows() {
    assert_eq!(Class::ALL.map(Class::name), ["read", "write", "secret"]);
}

#[test]
fn an_id_is_one_to_32_lower_case_hex_digits() {
    for good in ["0", "f", "0123456789abcdef", "0123456789abcdef0123456789abcdef"] {
        assert_eq!(TunnelId::parse(good).unwrap().as_str(), good);
        assert_eq!(AccountId::parse(good).unwrap().to_string(), good);
    }
    for bad in ["", "g", "A", "0123456789abcdef0123456789abcdef0", " 0", "0x1", "\u{661}", "/", ":", "`", "@"]
    {
        assert_eq!(TunnelId::parse(bad), None, "{bad}");
        assert_eq!(AccountId::parse(bad), None, "{bad}");
    }
}
