//! What must hold for every line of an access log? Written once, for the fuzz target and for the test that replays its corpus.

use isobar_observe::WallTime;
use isobar_observe::access::Field;
use isobar_observe::recorded::{Column, Entry, Keys, LineFormat, Pattern, Told, Zone, read_time};
use serde_json::Value;

/// A line is read the same twice, whatever was read before; what is combined is common as well; an object in JSON says what `serde_json`
/// finds in it; and a time is the same instant however its zone is given.
pub(crate) fn log_line(line: &[u8]) {
    let combined = LineFormat::Pattern(Pattern::combined());
    let common = LineFormat::Pattern(Pattern::common());
    let mut first = Entry::default();
    if combined.read(line, &mut first) {
        let mut second = Entry::default();
        assert!(common.read(line, &mut second), "combined, but not common");
        for field in [Field::Client, Field::TimeClf, Field::Request, Field::Status] {
            assert_eq!(
                told(&combined, &first, field),
                told(&common, &second, field),
                "{field:?}"
            );
        }
        let mut again = second;
        assert!(combined.read(line, &mut again));
        assert_eq!(first, again);
    }
    LineFormat::Pattern(Pattern::vhost_combined()).read(line, &mut first);
    LineFormat::Json(Keys::isobar()).read(line, &mut first);
    if let Some((template, rest)) = std::str::from_utf8(line).ok().and_then(|text| text.split_once('\n'))
        && let Ok(pattern) = Pattern::compile(template)
    {
        LineFormat::Pattern(pattern).read(rest.as_bytes(), &mut first);
    }
    object(line);
    time(line);
}

fn told<'e>(format: &LineFormat, entry: &'e Entry, field: Field) -> Told<'e> {
    let place = format.columns().find(&Column::Field(field));
    place.map_or(Told::Unknown, |place| entry.told(place))
}

/// `serde_json` is the oracle, but for keys that are there twice and for what is nested too deeply.
fn object(line: &[u8]) {
    let Ok(Value::Object(object)) = serde_json::from_slice(line) else {
        return;
    };
    let nested = line.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    let keys = line.windows(8).filter(|part| *part == b"\"client\"").count();
    let is_plain = keys == 1 && !line.contains(&b'\\');
    if nested > 30 || line.len() > 60_000 {
        return;
    }
    let format = LineFormat::Json(Keys::mapped([]).expect("nothing is mapped"));
    let mut entry = Entry::default();
    assert!(format.read(line, &mut entry), "an object that is not read");
    if let (true, Some(Value::String(client))) = (is_plain, object.get("client")) {
        let expected = if client.is_empty() {
            Told::Absent
        } else {
            Told::Value(client.as_bytes())
        };
        assert_eq!(told(&format, &entry, Field::Client), expected);
    }
}

fn time(text: &[u8]) {
    let here = read_time(text, Zone(0));
    if let Ok(text) = std::str::from_utf8(text)
        && let Some(known) = WallTime::read_rfc3339(text)
    {
        let mut written = Vec::new();
        known.write_rfc3339(&mut written);
        // The other reader takes numbers with more or fewer digits too.
        let is_exact = text.as_bytes().get(..19) == written.get(..19) && !text.ends_with(".Z");
        assert!(!is_exact || here == Some(known), "{text}");
    }
    let Some(here) = here else { return };
    // A time without a zone is an hour earlier an hour further east; one with a zone is the same everywhere.
    if let Some(there) = read_time(text, Zone(3_600)) {
        let apart = here.0.as_secs() - there.0.as_secs();
        assert!(apart == 0 || apart == 3_600, "{apart}");
    }
}
