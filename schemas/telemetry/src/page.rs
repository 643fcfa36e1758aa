//! Families whose series come and go, written out as Prometheus reads them: a recorder keeps every series for ever.

use std::fmt::{Display, Write};

use crate::Metric;

/// Some families in the text format, one after the other.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Begins a family; its samples have to follow.
    pub fn family(&mut self, metric: &Metric) {
        let Metric { name, kind, help, .. } = metric;
        // Writing into a String can't fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
    }

    /// A sample of the family that was begun last. The values of its labels may hold anything.
    pub fn sample(&mut self, metric: &Metric, labels: &[&str], value: impl Display) {
        assert_eq!(labels.len(), metric.labels.len(), "{} has labels of its own", metric.name);
        self.0.push_str(metric.name);
        for (index, (name, label)) in metric.labels.iter().zip(labels).enumerate() {
            let begin = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{begin}{name}=\"{}\"", escaped(label));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_can_end_neither_itself_nor_its_line() {
        const LAG: Metric = Metric::gauge("lag", &["a", "b"], "How far behind");
        const UP: Metric = Metric::counter("up_total", &[], "Up");
        let mut page = Page::default();
        page.family(&LAG);
        page.sample(&LAG, &["x", "q\"} 1\n\\"], 2.5);
        page.family(&UP);
        page.sample(&UP, &[], 1);
        let expected = "# HELP lag How far behind\n# TYPE lag gauge\nlag{a=\"x\",b=\"q\\\"} 1\\n\\\\\"} 2.5\n\
                        # HELP up_total Up\n# TYPE up_total counter\nup_total 1\n";
        assert_eq!(page.into_text(), expected);
    }
}
