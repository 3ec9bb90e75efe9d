"""Broken inputs, each made after a report in the tracker of a peer, and odd but legal ones that must pass.

``source`` is the thread (owner/repository#number); the input is the shape of fault reported there, made small by hand:
no file was copied. ``line`` is where the fault must be named; None: the fault is the file's or the tokenizer's, not a row's.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from typing import Any

STRICT = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:665232916d127eb7\nsize 146946961\n"
GOOD = {"prompt": "film", "completion": "good"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input."""

    source: str
    name: str  # of the file, below the job's folder
    content: bytes
    said: str  # part of what must be said
    line: int | None = None
    template: str | None = ""  # '': the tokenizer's usual one; None: it has none
    eos: bool = True
    job: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.source}:{self.said}"


def lines(*rows: Any) -> bytes:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode("utf-8", "surrogatepass")


def chat(*turns: tuple[str, Any], key: str = "messages", role: str = "role", content: str = "content") -> dict[str, Any]:
    return {key: [{role: who, content: text} for who, text in turns]}


def share(*turns: tuple[str, Any]) -> dict[str, Any]:
    return chat(*turns, key="conversations", role="from", content="value")


def bad(source: str, name: str, content: bytes, said: str, line: int | None = None, **more: Any) -> Case:
    return Case(source=source, name=name, content=content, said=said, line=line, **more)


U, A, S = ("user", "film"), ("assistant", "good"), ("system", "review")
OK = chat(U, A)
LONG = "plot " * 60
SHORT = {"training": {"max_length": 24}}
CLASSES = {"task": "classification"}

NOT_JSON = [
    bad("pytorch/tutorials#2273", "d.jsonl", lines(GOOD, '{"prompt": "film", "completion": "go'), "not JSON: Unterminated string", 2),
    bad("CSHaitao/LexiLaw#44", "d.jsonl", json.dumps([GOOD, GOOD], indent=1).encode(), "not JSON", 1),
    bad("OpenGVLab/InternVL#893", "d.jsonl", json.dumps(GOOD, indent=1).encode(), "not JSON", 1),
    bad("facebookresearch/lingua#42", "d.jsonl", lines(GOOD, json.dumps(GOOD) * 2), "Extra data", 2),
    bad("Lightning-AI/lit-llama#283", "d.json", b"my own data, written by hand\n", "not JSON", 1),
    bad("zai-org/ChatGLM-6B#1196", "d.json", lines(GOOD) + b'{"prompt": "\xff\xfe film", "completion": "good"}\n' + lines(*[GOOD] * 40), "not", 2),
    bad("open-mmlab/mmocr#1479", "d.jsonl", lines(GOOD, "1234 film"), "Extra data", 2),
    bad("PaddlePaddle/PaddleOCR#4271", "d.jsonl", lines('img/1.jpg\t[{"prompt": "film"}]'), "not JSON", 1),
    bad("huggingface/datasets#6315", "d.jsonl", b"prompt,completion\nfilm,good\n", "not JSON", 1),
    bad("hiyouga/LlamaFactory#412", "d.json", json.dumps([GOOD, [GOOD]], indent=0).encode(), "expected an object, got list", 6),
    bad("hiyouga/LlamaFactory#8805", "d.jsonl", lines(GOOD, [GOOD]), "expected an object, got list", 2),
    bad("huggingface/datasets#7322", "d.json", json.dumps([GOOD, "film"], indent=0).encode(), "expected an object, got str", 6),
    bad("huggingface/transfer-learning-conv-ai#99", "d.json", json.dumps([GOOD] * 9, indent=0).encode()[:-60], "the list never ends", 32),
]  # fmt: skip

ROWS = [
    bad("hiyouga/LlamaFactory#2529", "d.json", json.dumps([share(("human", "film"), ("function_call", "{}"))]).encode(), "function_call", 1),
    bad("hiyouga/LlamaFactory#2381", "d.jsonl", lines(share(("human", "a"), ("gpt", "b")), share(("hummany", ""), ("gpt", ""))), "hummany", 2),
    bad("hiyouga/LlamaFactory#7777", "d.jsonl", lines(share(("human", "film"), ("human", "plot"))), "no assistant turn", 1),
    bad("hiyouga/LlamaFactory#6878", "d.jsonl", lines(OK, chat(U, U, A)), "roles must alternate", 2, template=STRICT),
    bad("hiyouga/LlamaFactory#6924", "d.jsonl", lines({"conversations": [{"value": "film"}, {"from": "gpt", "value": "good"}]}), "role None", 1),
    bad("hiyouga/LlamaFactory#7577", "d.jsonl", lines({"instruction": "film", "output": "good"}, OK), "mixed formats", 2),
    bad("hiyouga/LlamaFactory#5503", "d.jsonl", lines(OK, {"text": "film"}), "mixed formats", 2),
    bad("taprosoft/llm_finetuning#5", "d.json", json.dumps([share(("USER", "film"), ("gpt", "good"))]).encode(), "USER", 1),
    bad("axolotl-ai-cloud/axolotl#290", "d.jsonl", lines(GOOD, {"prompt": "film", "completion": ""}), "the answer is empty", 2),
    bad("huggingface/setfit#566", "d.jsonl", lines({"label": "ok", "text": "film"}, {"label": "nok", "text": None}), "no 'text'", 2, job=CLASSES),
    bad("webis-de/small-text#73", "d.jsonl", lines({"text": "film"}, {"text": None}), "no 'text'", 2),
    bad("hiyouga/LlamaFactory#6743", "d.jsonl", lines(*[OK] * 5, chat(U, ("assistant", None))), "a turn needs a role", 6),
    bad("hiyouga/LlamaFactory#3555", "d.jsonl", lines({"instruction": "film", "output": ["good", "bad"]}), "is a list, not text", 1),
    bad("huggingface/trl#2385", "d.jsonl", lines({"prompt": "film", "chosen": "good", "rejected": None}), "no 'rejected'", 1, job={"task": "dpo"}),
    bad("huggingface/smol-course#260", "d.jsonl", lines(OK, chat(U, A, U, U)), "roles must alternate", 2, template=STRICT),
    bad("FasterDecoding/Medusa#102", "d.jsonl", lines(OK, chat(A, U, A)), "roles must alternate", 2, template=STRICT),
    bad("unslothai/unsloth#334", "d.jsonl", lines(chat(A)), "begins with the assistant", 1),
    bad("huggingface/alignment-handbook#93", "d.jsonl", lines(chat(S, U, A)), "roles must alternate", 1, template=STRICT),
    bad("huggingface/transformers#8886", "d.jsonl", lines(GOOD, '{"prompt": "\\ud83d film", "completion": "good"}'), "surrogate", 2),
    bad("openai/tiktoken#82", "d.jsonl", lines(GOOD, '{"prompt": "film", "completion": "\\udbc0"}'), "surrogate", 2),
    bad("RasaHQ/rasa#1489", "d.jsonl", lines(chat(U, ("assistant", "\ud83d"))), "surrogate", 1),
    bad("brightmart/nlp_chinese_corpus#45", "d.jsonl", lines('{"text": "\\u30a2\\udc00"}'), "surrogate", 1),
]  # fmt: skip

TOKENS = [
    bad("unslothai/unsloth#2900", "d.jsonl", lines(OK, chat(("user", LONG), A)), "no token of this row carries loss", 2, job=SHORT),
    bad("unslothai/unsloth#2095", "d.jsonl", lines(chat(U, A, U, A), chat(("system", LONG), U, A)), "no token of this row", 2, job=SHORT),
    bad("unslothai/unsloth#2364", "d.jsonl", lines(share(("human", LONG), ("gpt", "good"))), "no token of this row", 1, job=SHORT),
    bad("unslothai/unsloth#1128", "d.jsonl", lines(*[OK] * 600, chat(("user", LONG), A, U, A)), "no token of this row", 601, job=SHORT),
    bad("unslothai/unsloth#11321", "d.jsonl", lines(OK), "leaves the assistant's answer out", 1,
        template="{% for m in messages %}{% if m.role == 'model' %}{{ m.content }}</s>{% endif %}{% endfor %}"),
    bad("OpenRLHF/OpenRLHF#613", "d.jsonl", lines(OK), "no chat template", 1, template=None),
    bad("unslothai/unsloth#2096", "d.jsonl", lines(share(("human", "film"), ("gpt", "good"))), "no chat template", 1, template=None),
    bad("ml-explore/mlx-examples#1243", "train.jsonl", lines(chat(S, U, A)), "no chat template", 1, template=None),
    bad("huggingface/trl#3309", "d.json", json.dumps([OK]).encode(), "no chat template", 1, template=None),
    bad("mlabonne/llm-course#33", "d.jsonl", lines(OK), "no end of turn", 1, template="{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"),
    bad("huggingface/trl#1623", "d.jsonl", lines(GOOD), "names no end token", 1, eos=False),
    bad("brevdev/launchables#4", "d.jsonl", lines({"prompt": "film", "completion": LONG}), "stop token never learned", 1, job=SHORT),
    bad("huggingface/blog#1302", "d.jsonl", lines(OK), "no end of turn", 1,
        template="{% for m in messages %}### {{ m.role }}\n{{ m.content }}\n###\n{% endfor %}"),
    bad("stochasticai/xTuring#129", "d.jsonl", lines(OK), "no end of turn", 1, template="{% for m in messages %}{{ m.content }}[END]{% endfor %}"),
    bad("ibm-granite/granite-3.1-language-models#2", "d.jsonl", lines({"text": "film"}), "names no end token", 1, eos=False),
    bad("sgl-project/sglang#888", "d.jsonl", lines(GOOD, {"prompt": "<s>film", "completion": "good"}), "doubled begin token", 2),
    bad("allenai/reward-bench#164", "d.jsonl", lines({"text": "film", "label": "a"}, {"text": "<s>plot", "label": "b"}), "doubled begin", 2, job=CLASSES),
    bad("huggingface/open-r1#462", "d.jsonl", lines({"text": "<s> film is good"}), "doubled begin token", 1),
    bad("MakazhanAlpamys/Soup#781", "d.jsonl", lines(chat(("user", "<s>film"), A)), "doubled begin token", 1,
        template="{{ bos_token }}{% for m in messages %}{{ m.content }}</s>{% endfor %}"),
]  # fmt: skip

FILES = [
    bad("InertExpert2911/Mutual_Fund_Data#1", "d.parquet", POINTER, "Git LFS pointer"),
    bad("policy-gradient/GRPO-Zero#1", "data/train-00000-of-00001.parquet", POINTER, "Git LFS pointer", job={"dataset": "data"}),
    bad("open-reaction-database/ord-schema#923", "d.csv.gz", POINTER, "cannot be read"),
    bad("huggingface/datasets#4077", "d.parquet", b"PAR1" + b"\0" * 64, "damaged"),
    bad("huggingface/lerobot#2529", "d.parquet", b"<html><body>504 Gateway Time-out</body></html>", "web page"),
    bad("hturki/suds#49", "d.parquet", b"PK\x03\x04archive/data.pkl", "not a Parquet file"),
    bad("huggingface/datasets#6851", "d.json", gzip.compress(lines(GOOD)), "a gzip file"),
    bad("zilliztech/VectorDBBench#199", "d.csv.gz", gzip.compress(b"text,label\n" + b"film plot,a\n" * 500)[:-30], "cannot be read"),
    bad("hiyouga/LlamaFactory#7016", "d.csv", b"prompt,completion\nfilm,gut\n" + b"\xc0\xaf\xd0,\xff\n", "not UTF-8", 3),
    bad("huggingface/datasets#6641", "d.jsonl", lines(GOOD) + '{"prompt": "电影'.encode() + b"\xac" + b'", "completion": "good"}\n', "not UTF-8", 2),
    bad("lukas/ml-class#54", "d.csv", b"text,label\nfilm,a\nplot, long,b\n", "3 cells", 3, job=CLASSES),
    bad("ismael-araujo/testing-libraries#2", "d.csv", b"text\nfilm\nplot\nactor\nscene\ngood,bad\n", "2 cells", 6),
    bad("heshengtao/comfyui_LLM_party#141", "d.csv", b"prompt,completion\nfilm,good\nplot,bad,extra\n", "3 cells", 3),
    bad("huggingface/sentence-transformers#1509", "d.tsv", b"prompt\tcompletion\nfilm\tgood\nplot\n", "1 cells", 3),
    bad("huggingface/datasets#1989", "d.tsv", b"text\tlabel\nfilm\ta\nplot \r actor\tb\n", "1 cells", 3, job=CLASSES),
    bad("sillsdev/web-xforge#3404", "d.csv", b'prompt,completion\nfilm,good\n"plot,bad\nactor,good\n', "never closes", 3),
    bad("huggingface/datasets#1773", "d.csv", b"id,text,,label\n1,film,x,a\n", "empty or repeated column name", 1, job=CLASSES),
    bad("huggingface/datasets#6460", "d.jsonl", lines({"sentences": [["film"]], "ner": [[[0, 4, "Protein"]]]}), "do not say what is asked"),
]  # fmt: skip

BROKEN = [*NOT_JSON, *ROWS, *TOKENS, *FILES]

# odd but legal: (source or why, file, content, rows)
LEGAL: list[tuple[str, str, bytes, int]] = [
    ("FartyPants/Training_PRO#17", "d.json", lines(GOOD, GOOD), 2),
    ("lil-lab/nlvr#1", "train.json", lines(GOOD, GOOD, GOOD), 3),
    ("minimaxir/gpt-2-simple#235", "d.csv", b"prompt,completion\nfilm,good\n\nplot,bad\n", 2),
    ("RUC-NLPIR/FlashRAG#132", "d.jsonl", lines({"prompt": "film", "completion": "1983"}, {"prompt": "film", "completion": 1983}), 2),
    ("ShishirPatil/gorilla#371", "d.jsonl", lines(GOOD | {"result": [1]}, GOOD | {"result": ["a"]}), 2),
    ("huggingface/datasets#7664", "d.jsonl", lines({"text": "### bug ,action: string, datetime: timestamp[s]"}), 1),
    ("fatchord/WaveRNN#168", "d.csv", b"prompt,completion\nthe film\x92s plot,good\n", 1),
    ("gretelai/gretel-synthetics#5", "d.csv", b"prompt,completion\nDo\xf1a Ana film,good\n", 1),
    ("charlesmalafosse/FastText-sentiment-analysis-for-tweets#2", "d.csv", b"prompt,completion\nfilm for \xa35,good\n", 1),
    ("openai/openai-cookbook#648", "d.jsonl", '{"prompt": "“film”", "completion": "good"}\n'.encode(), 1),
    ("deeplearning4j/DataVec#27", "d.csv", b'prompt,completion\n"Braund, Mr. Owen Harris",good\n', 1),
    ("mlpack/mlpack#1755", "d.csv", b'prompt,completion\n"film with \\"embedded\\" quote",good\n"plot",bad\n', 2),
    ("QwenLM/Qwen3#1314", "d.json", json.dumps([share(("user", "film"), ("assistant", "good")) | {"system": "", "tools": ""}]).encode(), 1),
    ("a mark before the first brace", "d.jsonl", b"\xef\xbb\xbf" + lines(GOOD), 1),
    ("UTF-16 with its mark", "d.csv", "prompt,completion\nfilm,good\n".encode("utf-16"), 1),
    ("Windows line ends and no last one", "d.jsonl", lines(GOOD, GOOD).replace(b"\n", b"\r\n").rstrip(), 2),
    ("blank lines", "d.jsonl", b"\n\n" + lines(GOOD) + b"  \n" + lines(GOOD), 2),
    ("semicolons, as a German Excel writes", "d.csv", b"sep=;\nprompt;completion\nfilm, long;good\n", 1),
    ("parts of text in a turn", "d.jsonl", lines(chat(U, ("assistant", [{"type": "text", "text": "good"}]))), 1),
    ("an empty prompt", "d.jsonl", lines({"prompt": "", "completion": "good"}), 1),
    ("an emoji as two escapes", "d.jsonl", lines('{"prompt": "\\ud83d\\ude00", "completion": "good"}'), 1),
    ("a list inside an object", "d.json", json.dumps({"version": 1, "data": [GOOD, GOOD]}).encode(), 2),
    ("a cell over several lines", "d.csv", b'prompt,completion\n"film\nplot\n\nactor",good\n', 1),
    ("a conversation that ends with a question", "d.jsonl", lines(chat(U, A, U)), 1),
]
