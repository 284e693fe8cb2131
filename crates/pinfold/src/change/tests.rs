//! Changes beside what breaks nothing, at the one moment in which it could do harm.

use pinfold_region::Region;

use crate::error::ChangeError;
use crate::moments::{Moment, meanwhile};
use crate::{FILE_BYTES_MAX, Pool};

#[test]
fn a_file_that_grows_under_an_insertion_does_not_get_longer_than_a_file_can_be() {
    let file = Pool::new(Region::memfd(1 << 20).unwrap()).unwrap().create("/file").unwrap();
    file.write_at(0, &[7; 8192]).unwrap();
    let other = file.clone();
    let grows = move || other.truncate(FILE_BYTES_MAX).wait().unwrap();
    let refused = meanwhile(Moment::Closed, grows, || file.insert(4096, 4096).wait()).unwrap_err();
    assert!(matches!(refused, ChangeError::TooLarge { .. }), "{refused}");
    assert_eq!(file.len(), FILE_BYTES_MAX);
    let mut bytes = [0; 8192];
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 8192], "nothing has moved");
    file.truncate(8192).wait().unwrap();
    file.insert(4096, 4096).wait().unwrap();
    assert_eq!(file.len(), 12288);
}
