//! Do servers that come with a reload under a name serve from the first moment?

use isobar_testkit::{Configuration, Load, LoadOptions, Origin, binary};

#[test]
fn reloads_to_and_from_names_under_load_fail_nothing() {
    let origin = Origin::named("a");
    let by_address = Configuration::to(&[origin.address()]).yaml();
    let by_name = Configuration::default()
        .server(format!("\"localhost:{}\"", origin.address().port()))
        .yaml();
    let isobar = binary!().run(&Configuration::to(&[origin.address()]));
    let options = LoadOptions {
        clients: 8,
        ..LoadOptions::default()
    };
    let load = Load::start(isobar.address(), &options);
    for _ in 0..20 {
        for yaml in [&by_name, &by_address] {
            let said = isobar.reload(yaml);
            assert!(said.contains("configuration applied"), "{said}");
            load.passes(3);
        }
    }
    load.finish().assert_flawless();
}
