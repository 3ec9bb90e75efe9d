# GraphQL says no with HTTP 200: what counts is that its answer has no "errors"
ask() {
  printf 'Authorization: Bearer %s\n' "$(v RUNPOD_API_KEY)" |
    curl -fsS -m 20 -H @- -H 'Content-Type: application/json' -d "{\"query\":\"$1\"}" "$U" ||
    KEY=$(v RUNPOD_API_KEY) python3 -c 'import os,sys,urllib.request as r
print(r.urlopen(r.Request(sys.argv[1],sys.argv[2].encode(),{"Authorization":"Bearer "+os.environ["KEY"],"Content-Type":"application/json","User-Agent":"cloudtune"}),timeout=20).read().decode())' "$U" "{\"query\":\"$1\"}"
}
end() {
  U=$(v RUNPOD_API_BASE_URL); U=${U:-https://api.runpod.io}/graphql; P="input:{podId:\\\"$(v RUNPOD_POD_ID)\\\"}"
  for Q in "podTerminate($P)" "podStop($P){id}"; do
    A=$(ask "mutation{$Q}"); echo "$Q: $A"
    case $A in *'"errors"'*|'') ;; *) break ;; esac
  done
}
