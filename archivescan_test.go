//go:build linux

package aufs

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestArchiveScan(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "wh": false, ".wh": false, "..wh.": true, ".w.wh.x": true, ".wh..wh..opq": true, "SCHILY.xattr": false,
		"SCHISCHILY.xattr.user.x": true, strings.Repeat("x", 1000) + ".wh": false, strings.Repeat("x.", 1000) + "wh.": true,
	} {
		readers := map[string]io.Reader{"whole": strings.NewReader(text), "halves": iotest.HalfReader(strings.NewReader(text)), "bytes": iotest.OneByteReader(strings.NewReader(text))}
		for name, r := range readers {
			scan := &archiveScan{Reader: r}
			got, err := io.ReadAll(scan)
			must(t, err)
			if string(got) != text || scan.needed != want {
				t.Errorf("%s of %q: needed is %v", name, text, scan.needed)
			}
		}
	}
	// Wherever the border is.
	for _, needle := range needles {
		for at := range needle {
			scan := &archiveScan{}
			scan.look(append([]byte("front "), needle[:at]...))
			scan.look(append(append([]byte(nil), needle[at:]...), " end"...))
			if !scan.needed {
				t.Errorf("%q cut at %d was not seen", needle, at)
			}
		}
	}
}
