// SPDX-License-Identifier: Apache-2.0

package secretequal

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is what its embedder shows to fmt, to slog, and to every encoder that knows encoding.TextMarshaler, as
// JSON, XML and YAML do. Its methods have value receivers, so that they also hold for a value that was copied out of
// a pointer.
type redacted struct{}

const mark = "[REDACTED]"

func (redacted) String() string               { return mark }
func (redacted) GoString() string             { return mark }
func (redacted) Format(s fmt.State, _ rune)   { io.WriteString(s, mark) }
func (redacted) MarshalText() ([]byte, error) { return []byte(mark), nil }
func (redacted) LogValue() slog.Value         { return slog.StringValue(mark) }
