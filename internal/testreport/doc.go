// Package testreport turns the events of "go test -json" into a report.
//
// The report counts leaf tests, once for each storage backend they ran on.
// A test belongs to the backend "aufs" or "overlay" when one part of its
// slash-separated name is exactly that word, and to "none" otherwise.
// A test that has subtests isn't counted, for its outcome repeats theirs;
// it is counted only when it failed and none of its subtests did.
//
// What failed without being a test counts as well, as a failure of "none":
// a package that didn't build, a panic outside of a test, a test binary
// that was killed. A test that began and never ended has failed.
package testreport
