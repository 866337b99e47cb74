// The same job in Go: one goroutine for each stream, a signed POST for every change.
//
// As script.py it keeps nothing on disk, retries nothing and knows one secret. It is the small program that a team with Go
// would write with the standard library, and its cost is what the daemon's is compared with.
package main

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	connectingAtOnce = 200     // more would overflow the upstream's backlog, and wait for the kernel's retries
	maxEvent         = 1 << 20 // bytes of a line
	keptConnections  = 256     // to the receiver of callbacks
)

var (
	upstream = flag.String("upstream", "", "base URL")
	callback = flag.String("callback", "", "URL that is told")
	token    = flag.String("token", "", "of the upstream")
	secret   = flag.String("secret", "", "whsec_...")
	idsFile  = flag.String("ids", "", "a file with one id a line")
)

type snapshot struct {
	State string `json:"state"`
}

type watch struct {
	ID string `json:"id"`
}

type data struct {
	Watch watch           `json:"watch"`
	State string          `json:"state"`
	Task  json.RawMessage `json:"task"`
}

type message struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      data      `json:"data"`
}

type follower struct {
	streams, posts *http.Client
	gate           chan struct{} // holds a token for each stream that is connecting
	key            []byte
}

// notify POSTs one change, signed as Standard Webhooks 1.0.0 says.
func (f *follower) notify(id string, state string, task []byte) error {
	body, err := json.Marshal(message{
		Type:      "task.state_changed",
		Timestamp: time.Now().UTC(),
		Data:      data{Watch: watch{ID: id}, State: state, Task: task},
	})
	if err != nil {
		return err
	}
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	messageID := "msg_" + hex.EncodeToString(random[:])
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	digest := hmac.New(sha256.New, f.key)
	fmt.Fprintf(digest, "%s.%s.", messageID, timestamp)
	digest.Write(body)
	request, err := http.NewRequest(http.MethodPost, *callback, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("content-type", "application/json")
	request.Header.Set("webhook-id", messageID)
	request.Header.Set("webhook-timestamp", timestamp)
	request.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(digest.Sum(nil)))
	response, err := f.posts.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil { // else the connection is not used again
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("the receiver answered %s", response.Status)
	}
	return nil
}

// open subscribes to a task.
func (f *follower) open(id string) (*http.Response, error) {
	f.gate <- struct{}{}
	defer func() { <-f.gate }()
	request, err := http.NewRequest(http.MethodGet, *upstream+"/vidu/v1/tasks/state?id="+id, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("authorization", "Bearer "+*token)
	request.Header.Set("accept", "text/event-stream")
	response, err := f.streams.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("the upstream answered %s", response.Status)
	}
	return response, nil
}

// follow follows one task to its end.
func (f *follower) follow(id string) error {
	response, err := f.open(id)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(make([]byte, 0, 512), maxEvent)
	last := ""
	for lines.Scan() {
		event := bytes.TrimPrefix(lines.Bytes(), []byte("data: "))
		if len(event) == 0 || len(event) == len(lines.Bytes()) {
			continue
		}
		var now snapshot
		if err := json.Unmarshal(event, &now); err != nil {
			return err
		}
		if now.State != last {
			last = now.State
			if err := f.notify(id, now.State, event); err != nil {
				return err
			}
		}
		if last == "success" || last == "failed" || last == "canceled" {
			return nil
		}
	}
	return lines.Err()
}

func main() {
	flag.Parse()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(*secret, "whsec_"))
	if err != nil {
		log.Fatal(err)
	}
	ids, err := os.ReadFile(*idsFile)
	if err != nil {
		log.Fatal(err)
	}
	streams := &http.Transport{ReadBufferSize: 2048, WriteBufferSize: 1024} // of 4 KiB each, for every open stream
	posts := &http.Transport{MaxIdleConnsPerHost: keptConnections, MaxConnsPerHost: keptConnections}
	all := &follower{
		streams: &http.Client{Transport: streams},
		posts:   &http.Client{Transport: posts},
		gate:    make(chan struct{}, connectingAtOnce),
		key:     key,
	}
	for _, id := range strings.Fields(string(ids)) {
		go func(id string) {
			if err := all.follow(id); err != nil {
				log.Printf("%s: %v", id, err)
			}
		}(id)
	}
	select {} // stays up, as a service does
}
