//! What the pages for people have in common.

pub(super) const STYLE: &str = ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:860px;margin:32px auto;\
padding:0 20px}h1{font-size:22px}h2{font-size:16px;margin:26px 0 6px}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid #8883;vertical-align:top;font-weight:400}\
td:first-child{width:32%}.wide td:first-child{width:auto}th{opacity:.65;font-size:13px}code{font:13px ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}\
.ok{color:#2a9d5c}.bad{color:#d1495b}.dim{opacity:.65}li{margin:4px 0}.number{white-space:nowrap}\
.verdict{font-size:18px;margin-bottom:0}.verdict strong{font-size:22px}footer{margin-top:32px;opacity:.65;font-size:13px}\
.bar{display:flex;height:18px;border-radius:4px;overflow:hidden;margin:8px 0}.bar i{display:block}\
.key{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:8px}\
.term0{background:#3a6ea5}.term1{background:#e0a030}.term2{background:#7fb069}.term3{background:#9a9a9a}";

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
