//! Masks: which role sees how much of a value.

use serde::Deserialize;

/// One `[[mask]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Several masks may have one name, for different roles.
    pub name: String,
    /// At least one.
    pub roles: Vec<String>,
    pub show: Shown,
}

impl Mask {
    pub fn is_for(&self, name: &str, role: &str) -> bool {
        self.name == name && self.roles.iter().any(|of_mask| of_mask == role)
    }
}

/// What a mask leaves to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Shown {
    /// So many characters at the beginning and at the end.
    Ends {
        first: usize,
        last: usize,
    },
    /// The first character of an e-mail address, and its domain.
    Email,
    /// The last four digits of a payment card's number.
    Card,
    /// The year of a date.
    Year,
    Nothing,
}

impl TryFrom<String> for Shown {
    type Error = String;
    fn try_from(text: String) -> Result<Shown, String> {
        let bad = || format!("there is no mask that shows {text:?}");
        let number = |word: Option<&str>| -> Result<usize, String> {
            let number = word.and_then(|word| word.parse::<u8>().ok()).filter(|&number| number > 0);
            number.map(usize::from).ok_or_else(bad)
        };
        let mut words = text.split(' ');
        let shown = match words.next() {
            Some("e-mail") => Shown::Email,
            Some("card") => Shown::Card,
            Some("year") => Shown::Year,
            Some("nothing") => Shown::Nothing,
            Some("last") => Shown::Ends { first: 0, last: number(words.next())? },
            Some("first") => {
                let first = number(words.next())?;
                match words.next() {
                    None => Shown::Ends { first, last: 0 },
                    Some("last") => Shown::Ends { first, last: number(words.next())? },
                    Some(_) => return Err(bad()),
                }
            }
            _ => return Err(bad()),
        };
        if words.next().is_none() { Ok(shown) } else { Err(bad()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_said_in_words_and_nothing_else_is_understood() {
        let shown = |text: &str| Shown::try_from(text.to_owned());
        assert_eq!(shown("first 2"), Ok(Shown::Ends { first: 2, last: 0 }));
        assert_eq!(shown("last 4"), Ok(Shown::Ends { first: 0, last: 4 }));
        assert_eq!(shown("first 1 last 2"), Ok(Shown::Ends { first: 1, last: 2 }));
        assert_eq!(shown("nothing"), Ok(Shown::Nothing));
        for text in
            ["", "all", "first", "first 0", "last 256", "last 4 first 1", "first 1 last", "card 4", "first  2", "email"]
        {
            assert!(shown(text).is_err(), "{text}");
        }
    }
}
