//go:build linux

package differential

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	const text = `layer
mkdir "d" 0o755
create "d/\xff x" 0o4644 70000 0x1f
layer on-copy
layer converted
layer read-only others 0b1
layer on-copy converted read-only others 0b110
rename "d/\xff x" "\u00e4\n"
setxattr "d" "user.a" "\x00\xff"
remount
`
	script, err := Parse(strings.NewReader("# a comment\n\n" + text))
	if err != nil {
		t.Fatal(err)
	}
	if len(script) != 5 || script[0].OnCopy || !script[1].OnCopy || script[4].Ops[0].Args[1] != "ä\n" {
		t.Errorf("got %+v", script)
	}
	last := script[4]
	if last.Ops = nil; !reflect.DeepEqual(last, Layer{OnCopy: true, Convert: true, ReadOnly: true, Others: 6}) {
		t.Errorf("got %+v", last)
	}
	again, err := Parse(strings.NewReader(script.String()))
	if err != nil || again.String() != script.String() {
		t.Errorf("%v\ngot  %s\nwant %s", err, again, script)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "there is no layer",
		"mkdir \"d\" 0":                "line 1",
		"layer of stone":               `"of stone"`,
		"layer others":                 `"others"`,
		"layer others many":            `"many"`,
		"layer others 0b1 2":           `"others 0b1 2"`,
		"layer\nfly \"d\"":             `unknown verb "fly"`,
		"layer\nmkdir \"d\"":           "argument 2 of mkdir",
		"layer\nmkdir d 0":             "not quoted",
		"layer\nmkdir \"d\" 0 1":       "too many arguments",
		"layer\nmkdir \"../d\" 0":      "not a path below the root",
		"layer\nmkdir \"/d\" 0":        "not a path below the root",
		"layer\nunlink \".\"":          "not a path below the root",
		"layer\ncreate \"f\" 0 many 0": "argument 3 of create",
	} {
		if _, err := Parse(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v does not say %q", text, err, want)
		}
	}
}

// TestShrink shrinks a script that fails for as long as it makes d/x and
// unlinks a/x.
func TestShrink(t *testing.T) {
	script, err := Parse(strings.NewReader(`
layer others 0b1
mkdir "a" 0
mkdir "d" 0
create "a/x" 0 0 0
layer converted read-only others 0b1
create "d/x" 0 0 0
create "d/y" 0 0 0
unlink "a/x"
layer
rmdir "d"
`))
	if err != nil {
		t.Fatal(err)
	}
	failure := errors.New("it fails")
	runs := 0
	short, err := Shrink(script, time.Now().Add(time.Minute), func(s Script) error {
		runs++
		text := s.String()
		if strings.Contains(text, `create "d/x"`) && strings.Contains(text, `unlink "a/x"`) {
			return failure
		}
		return nil
	})
	want := "layer\ncreate \"d/x\" 0 0 0\nunlink \"a/x\"\n"
	if !errors.Is(err, failure) || short.String() != want {
		t.Errorf("after %d runs: %v\n%s", runs, err, short)
	}
}
