// Renders conversations as Ollama does: its language is Go's text/template, a missing key is nothing, system prompts
// are gathered in .System, and messages of one role in a row are one message.
//
//	go run render.go < {"template": "...", "conversations": [[{"role": "user", "content": "Hi"}]]}
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type message struct{ Role, Content string }

func main() {
	var given struct {
		Template      string
		Conversations [][]message
	}
	must(json.NewDecoder(os.Stdin).Decode(&given))
	parsed, err := template.New("").Option("missingkey=zero").Parse(given.Template)
	must(err)
	rendered := []string{}
	for _, conversation := range given.Conversations {
		var system []string
		var messages []*message
		for _, next := range conversation {
			if next.Role == "system" {
				system = append(system, next.Content)
			}
			if last := len(messages) - 1; last >= 0 && messages[last].Role == next.Role {
				messages[last].Content += "\n\n" + next.Content
			} else {
				messages = append(messages, &message{next.Role, next.Content})
			}
		}
		var text strings.Builder
		must(parsed.Execute(&text, map[string]any{"System": strings.Join(system, "\n\n"), "Messages": messages}))
		rendered = append(rendered, text.String())
	}
	must(json.NewEncoder(os.Stdout).Encode(rendered))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
