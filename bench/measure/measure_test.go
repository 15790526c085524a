// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestBars(t *testing.T) {
	results := map[string]result{"ours": {ns: 100, allocs: 1.2}, "peer": {ns: 400}}
	rows := []struct {
		name string
		bar  Bar
		want bool
	}{
		{"faster, just", Faster(4, "peer"), true},
		{"faster, not quite", Faster(4.01, "peer"), false},
		{"share of a peer's time, just", AtMost(0.25, "peer"), true},
		{"share of a peer's time, not quite", AtMost(0.24, "peer"), false},
		{"time, just", Within(100 * time.Nanosecond), true},
		{"time, not quite", Within(99 * time.Nanosecond), false},
		{"allocations, rounded", Allocs(1), true},
		{"allocations, too many", Allocs(0), false},
		{"a peer that is not there", Faster(1, "pear"), false},
	}
	for _, row := range rows {
		if text, got := row.bar.judge(results, results["ours"]); got != row.want {
			t.Errorf("%s: %q is judged %v", row.name, text, got)
		}
	}
}

func TestReport(t *testing.T) {
	var slow, fast, cleaned int
	s := Subject{
		Name: "subject",
		Jobs: []Job{{
			Name: "job",
			Entries: []Entry{{"ours", func(n int) { slow += n; time.Sleep(time.Duration(n) * time.Millisecond) }}, {"peer", func(n int) {
				for range n {
					fast++
				}
			}}},
			Bars: []Bar{Faster(2, "peer")},
		}},
		Note: func(w io.Writer) error { _, err := io.WriteString(w, "a note\n"); return err },
		Done: func() error { cleaned++; return errors.New("could not clean up") },
	}
	var out bytes.Buffer
	missed, err := s.Report(&out, Effort{Rounds: 2, Round: 4 * time.Millisecond})
	if missed != 1 || err == nil || cleaned != 1 {
		t.Errorf("missed %d, error %v, cleaned up %d times", missed, err, cleaned)
	}
	for _, want := range []string{"### subject", "| job | peer |", "MISSED", "a note"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, &out)
		}
	}
	if slow == 0 || fast < slow {
		t.Errorf("ours ran %d times, the faster peer %d", slow, fast)
	}

	slow, s.Done = 0, nil
	if missed, err := s.Report(io.Discard, Smoke); missed != 0 || err != nil || slow > 3 {
		t.Errorf("smoke: missed %d, error %v, ran %d times", missed, err, slow)
	}
}
