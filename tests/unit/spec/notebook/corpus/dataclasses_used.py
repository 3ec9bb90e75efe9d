# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
from dataclasses import dataclass, field
from types import SimpleNamespace
@dataclass
class Hyper:
    lr: float = 1e-4
    r: int = 8
    targets: list = field(default_factory=lambda: ["q_proj"])
    alpha: int = None
    def __post_init__(self):
        if self.alpha is None:
            self.alpha = self.r * 2
h = Hyper(r=16)
h.targets.append("v_proj")
ns = SimpleNamespace(steps=5, opt="adafactor")
ns.steps = ns.steps * 2
args = SFTConfig("o", learning_rate=h.lr, max_steps=ns.steps, optim=ns.opt)
SFTTrainer(model=model, args=args, train_dataset=ds, peft_config=LoraConfig(r=h.r, lora_alpha=h.alpha, target_modules=h.targets)).train()
