# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
class Config:
    scale = 2
    def __init__(self, lr, steps=100):
        self.lr = lr
        self.steps = steps // self.scale
    @property
    def half(self):
        return self.steps // 2
class Run:
    def __init__(self, config):
        self.config = config
    def train(self):
        args = SFTConfig("o", learning_rate=self.config.lr, max_steps=self.config.steps, seed=self.config.half)
        self.trainer = SFTTrainer(model=model, args=args, train_dataset=ds)
        self.trainer.train()
Run(Config(3e-5)).train()
