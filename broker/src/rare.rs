//! What nearly nobody has: room for a pointer where there is none of it.

use std::collections::VecDeque;
use std::ops::Deref;

/// A value that is blank for most: they have no memory for it. It reads as the value itself; to change it says whether memory may be
/// taken for it.
#[derive(Debug, Clone)]
pub struct Rare<T>(Option<Box<T>>);

/// A type with a value that stands for "none of it".
pub trait Blank: Default + 'static {
    const BLANK: &'static Self;
}

impl<T: 'static> Blank for Vec<T> {
    const BLANK: &'static Self = &Vec::new();
}

impl<T: 'static> Blank for VecDeque<T> {
    const BLANK: &'static Self = &VecDeque::new();
}

impl<T: Blank> Rare<T> {
    /// For a change that makes something of it.
    pub fn make(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }

    /// For a change that a blank value needs not.
    pub fn existing(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// Leaves it blank.
    pub fn take(&mut self) -> T {
        self.0.take().map(|value| *value).unwrap_or_default()
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Blank> From<T> for Rare<T> {
    fn from(value: T) -> Self {
        Self(Some(Box::new(value)))
    }
}

impl<T: Blank> Deref for Rare<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::BLANK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_a_pointer_until_something_is_made_of_it() {
        let mut rare = Rare::<Vec<u8>>::default();
        assert_eq!((size_of_val(&rare), rare.len(), rare.existing()), (size_of::<usize>(), 0, None));
        rare.make().push(7);
        assert_eq!(rare.existing().map(|it| it.len()), Some(1));
        assert_eq!(*rare, [7]);
        assert_eq!((rare.take(), rare.is_empty(), rare.existing()), (vec![7], true, None));
    }
}
