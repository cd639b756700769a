//go:build linux

package fsutil

import "testing"

func TestReleaseFrom(t *testing.T) {
	for release, want := range map[string]bool{
		"6.7.0": true, "6.7": true, "6.12.1-amd64": true, "6.18": true, "7.0-rc1": true, "10.0.1": true,
		"6.6.99": false, "5.10.0-30-amd64": false, "4.19": false, "": false, "next": false,
	} {
		if got := ReleaseFrom(release, 6, 7); got != want {
			t.Errorf("%s: %t", release, got)
		}
	}
}
