//! Uploads that were begun and neither completed nor aborted. `object_store` cannot list them, so this does.

use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use serde::Deserialize;

use super::Bucket;
use super::failure::{Kind, Refused, kind};
use super::keys::id_of;
use crate::store::{FileId, StoreError};

const DOING: &str = "list unfinished uploads";
/// Pages of a thousand that one sweep looks at.
const PAGES_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing {
    #[serde(default)]
    upload: Vec<Entry>,
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_key_marker: String,
    #[serde(default)]
    next_upload_id_marker: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    upload_id: String,
}

impl Bucket {
    /// Aborts the unfinished uploads of files for which `doomed` says so; how many.
    pub(super) async fn sweep_uploads(&self, doomed: impl Fn(&FileId) -> bool) -> Result<u64, StoreError> {
        let (mut aborted, mut marker) = (0, None);
        for _ in 0..PAGES_MAX {
            let listed = self.list_uploads(marker.as_ref()).await;
            let page = self.heard(DOING, listed)?;
            for Entry { key, upload_id } in &page.upload {
                let Ok(path) = Path::parse(key) else { continue };
                if id_of(&path).is_some_and(|id| doomed(&id)) {
                    match self.s3.abort_multipart(&path, upload_id).await {
                        Err(error) if kind(&error) == Kind::Missing => {}
                        other => {
                            self.heard("abort an upload", other)?;
                            aborted += 1;
                        }
                    }
                }
            }
            if !page.is_truncated || page.next_key_marker.is_empty() {
                break;
            }
            marker = Some((page.next_key_marker, page.next_upload_id_marker));
        }
        Ok(aborted)
    }

    async fn list_uploads(&self, marker: Option<&(String, String)>) -> object_store::Result<Listing> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Generic { store: "S3", source };
        let mut url = format!("{}?uploads=&prefix={}", self.options.url(), escaped(&format!("{}/", self.keys.files())));
        if let Some((key, upload)) = marker {
            url.push_str(&format!("&key-marker={}&upload-id-marker={}", escaped(key), escaped(upload)));
        }
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url.parse().map_err(|error| failed(Box::new(error)))?;
        let credential = self.s3.credentials().get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &self.options.region).try_authorize(&mut request, None)?;
        let answer = self.http.execute(request).await.map_err(|error| failed(Box::new(error)))?;
        let status = answer.status();
        let text = answer.into_body().bytes().await.map_err(|error| failed(Box::new(error)))?;
        if !status.is_success() {
            let text = format!("{status}: {}", String::from_utf8_lossy(&text));
            return Err(failed(if status.is_server_error() {
                text.into()
            } else {
                Box::new(Refused::BadRequest(text))
            }));
        }
        quick_xml::de::from_reader(&text[..]).map_err(|error| failed(Box::new(Refused::BadRequest(error.to_string()))))
    }
}

/// As a signed query wants it.
fn escaped(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn listings_are_read_with_and_without_entries() {
        let text = "<ListMultipartUploadsResult><Bucket>b</Bucket><IsTruncated>true</IsTruncated>\
                    <NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>\
                    <Upload><Key>a/files/x</Key><UploadId>1</UploadId><Initiated>2026-01-01T00:00:00Z</Initiated></Upload>\
                    <Upload><Key>a/files/y</Key><UploadId>2</UploadId></Upload></ListMultipartUploadsResult>";
        let listing: Listing = quick_xml::de::from_str(text).unwrap();
        assert_eq!((listing.upload.len(), listing.is_truncated, &*listing.next_key_marker), (2, true, "k"));
        assert_eq!((&*listing.upload[1].key, &*listing.upload[1].upload_id), ("a/files/y", "2"));
        let empty: Listing =
            quick_xml::de::from_str("<ListMultipartUploadsResult></ListMultipartUploadsResult>").unwrap();
        assert!(empty.upload.is_empty() && !empty.is_truncated);
        assert_eq!(escaped("a/b c=ü"), "a%2Fb%20c%3D%C3%BC");
    }
}
