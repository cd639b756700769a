package testreport

import (
	"bytes"
	"encoding/json"
)

// An event is one line of "go test -json"; "go doc test2json" describes it.
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	FailedBuild string
}

// parseEvent parses one line. The stream may contain other lines, such as the
// go command's reports of downloads: for such a line ok is false.
func parseEvent(line []byte) (ev event, ok bool) {
	if !bytes.HasPrefix(line, []byte("{")) {
		return event{}, false
	}
	if err := json.Unmarshal(line, &ev); err != nil || ev.Action == "" {
		return event{}, false
	}
	return ev, true
}
