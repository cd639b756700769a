// Package testreport turns the events of "go test -json" into a report.
//
// The report counts leaf tests, once for each storage backend they ran on. A
// test belongs to the backend "aufs" or "overlay" if one part of its
// slash-separated name is exactly that word, and to "none" otherwise. A test
// that has subtests does not count, because its outcome repeats theirs. It
// counts only if it failed and none of its subtests did.
//
// A failure outside of a test also counts, as a failure of "none": a package
// that didn't build, a panic outside of a test, a killed test binary. A test
// that began and never ended has failed.
package testreport
