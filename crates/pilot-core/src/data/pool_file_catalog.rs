//! `PoolFileCatalog.xml`: for programs that find their inputs by GUID.
//!
//! The text is that of Pilot 3, byte for byte, for the same inputs.
//!
//! Source: Pilot 3, `pilot/user/atlas/metadata.py`, `create_input_file_metadata`;
//! `pilot/control/data.py`, `get_input_file_dictionary`.

use std::fmt::Write as _;

use ailurus_model::Guid;

use super::stage_in::{Access, StageInFile};

/// Name of the file in the job's directory.
pub const FILE_NAME: &str = "PoolFileCatalog.xml";

const HEAD: &str = "<?xml version=\"1.0\" ?>\n<!DOCTYPE POOLFILECATALOG SYSTEM \"InMemory\">\n";

/// Returns the catalogue of a job's inputs. Of two files with the same GUID, the second counts, in
/// the place of the first.
#[must_use]
pub fn pool_file_catalog(files: &[StageInFile]) -> String {
    let mut entries: Vec<(&str, &str)> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for file in files {
        let guid = file.guid.as_ref().map_or("", Guid::as_str);
        let name = match &file.access {
            Access::Remote(remote) => remote.url.as_str(),
            Access::Copy | Access::None => file.lfn.as_str(),
        };
        let place = *places.entry(guid).or_insert(entries.len());
        match entries.get_mut(place) {
            Some(entry) => entry.1 = name,
            None => entries.push((guid, name)),
        }
    }
    if entries.is_empty() {
        return format!("{HEAD}<POOLFILECATALOG/>\n");
    }
    let mut text = format!("{HEAD}<POOLFILECATALOG>\n");
    for (guid, name) in entries {
        let (guid, name) = (escaped(guid), escaped(name));
        // Writing to a text cannot fail.
        let _ = write!(
            text,
            "  <File ID=\"{guid}\">\n    <physical>\n      \
             <pfn filetype=\"ROOT_All\" name=\"{name}\"/>\n    \
             </physical>\n    <logical/>\n  </File>\n"
        );
    }
    text.push_str("</POOLFILECATALOG>\n");
    text
}

/// Escapes a text for an attribute. Characters that XML cannot hold at all become `?`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            c if c < ' ' || matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        control::testing::input_file,
        data::{Domain, stage_in::RemoteInput},
    };

    fn file(lfn: &str, guid: &str, url: Option<&str>) -> StageInFile {
        let access = url.map_or(Access::Copy, |url| {
            Access::Remote(RemoteInput {
                url: url.into(),
                endpoint: ailurus_model::EndpointName::new("EP"),
                domain: Domain::Wan,
            })
        });
        StageInFile {
            guid: Some(Guid::new(guid)),
            ..StageInFile::new(&input_file(lfn), access)
        }
    }

    #[test]
    fn the_catalogue_is_that_of_pilot_3() {
        let files = [
            file("AOD.1.root", "4ACC5018-2EA3-B441-BC11-0C0992847FD1", None),
            file(
                "AOD.2.root",
                "G2",
                Some("root://h:1094//x/AOD.2.root?a=1&b=<2>"),
            ),
        ];
        let expected = "<?xml version=\"1.0\" ?>\n\
            <!DOCTYPE POOLFILECATALOG SYSTEM \"InMemory\">\n\
            <POOLFILECATALOG>\n\
            \x20 <File ID=\"4ACC5018-2EA3-B441-BC11-0C0992847FD1\">\n\
            \x20   <physical>\n\
            \x20     <pfn filetype=\"ROOT_All\" name=\"AOD.1.root\"/>\n\
            \x20   </physical>\n\
            \x20   <logical/>\n\
            \x20 </File>\n\
            \x20 <File ID=\"G2\">\n\
            \x20   <physical>\n\
            \x20     <pfn filetype=\"ROOT_All\" name=\"root://h:1094//x/AOD.2.root?a=1&amp;b=&lt;2&gt;\"/>\n\
            \x20   </physical>\n\
            \x20   <logical/>\n\
            \x20 </File>\n\
            </POOLFILECATALOG>\n";
        assert_eq!(pool_file_catalog(&files), expected);
    }

    #[test]
    fn two_files_with_one_guid_are_one_entry_with_the_second_name() {
        let text = pool_file_catalog(&[file("a", "G", None), file("b", "G", None)]);
        assert_eq!(text.matches("<File ").count(), 1);
        assert!(text.contains("name=\"b\""), "{text}");
        assert!(pool_file_catalog(&[]).ends_with("<POOLFILECATALOG/>\n"));
    }

    proptest! {
        #[test]
        fn no_name_breaks_out_of_its_attribute(name in any::<String>(), guid in any::<String>()) {
            let text = pool_file_catalog(&[file(&name, &guid, None)]);
            prop_assert_eq!(text.matches("<pfn ").count(), 1);
            prop_assert_eq!(text.matches('"').count(), 2 + 2 + 2 + 4);
            prop_assert!(!text.chars().any(|c| c < ' ' && c != '\n'));
        }
    }
}
