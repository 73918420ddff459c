//! The work that the demo's sellers do: a small extractive summary of a text. Reads standard input, writes standard
//! output, like any program that a node can sell.

use std::collections::{BTreeMap, BTreeSet};

/// Words that every English text is full of, and markup.
const COMMON: &str = "the and that this with from have has are for not but you your its was were will can one all any \
    which what when who how than then them they there their only into each other more most some such also where";

/// The three sentences of `text` whose words weigh most, in their order.
pub(super) fn summarize(text: &str) -> String {
    let sentences = sentences(text);
    let common: BTreeSet<&str> = COMMON.split_whitespace().collect();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for word in sentences.iter().flat_map(|sentence| words(sentence)) {
        if word.len() > 2 && !common.contains(word.as_str()) {
            *counts.entry(word).or_default() += 1;
        }
    }
    let mut ranked: Vec<(usize, usize)> = Vec::new();
    for (index, sentence) in sentences.iter().enumerate() {
        let (mut weight, mut length) = (0, 0);
        for word in words(sentence) {
            weight += counts.get(&word).copied().unwrap_or(0);
            length += 1;
        }
        if (6..=40).contains(&length) {
            ranked.push((weight * 100 / (length + 4), index));
        }
    }
    ranked.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let chosen: BTreeSet<usize> = ranked.into_iter().take(3).map(|(_, index)| index).collect();
    let lines: Vec<&str> = chosen.iter().map(|index| sentences[*index].as_str()).collect();
    if lines.is_empty() { format!("{} words.\n", words(text).count()) } else { lines.join("\n") + "\n" }
}

/// Prose only: code blocks, headings, tables and lists of a Markdown text are left out.
fn sentences(text: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut in_code = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            in_code = !in_code;
        } else if line.is_empty() || in_code || line.starts_with(['#', '|', '-', '*', '<', '!']) {
            prose.push_str(". ");
        } else {
            prose.push_str(line);
            prose.push(' ');
        }
    }
    let mut found = Vec::new();
    let mut sentence = String::new();
    for word in prose.split_whitespace() {
        if !sentence.is_empty() {
            sentence.push(' ');
        }
        sentence.push_str(word);
        if word.ends_with(['.', '!', '?']) {
            let done = std::mem::take(&mut sentence);
            if done.len() > 1 {
                found.push(done);
            }
        }
    }
    found.extend(Some(sentence).filter(|rest| !rest.is_empty()));
    found
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_three_sentences_of_the_text() {
        let text = "# Title\n\nAgents hire other agents and pay them with ecash. The weather is nice today, they say so. \
            A seller of work is paid in ecash by the agents that hire it. Nothing else matters in this long text at \
            all. Ecash lets agents pay sellers for work without an account.\n\n```\ncode is not prose\n```\n";
        let summary = summarize(text);
        assert_eq!(summary.lines().count(), 3);
        assert!(summary.lines().all(|line| line.to_lowercase().contains("ecash")), "{summary}");
    }

    #[test]
    fn any_input_gives_a_summary() {
        assert_eq!(summarize(""), "0 words.\n");
        assert_eq!(summarize("two words"), "2 words.\n");
    }
}
