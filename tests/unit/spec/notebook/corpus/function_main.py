# %%
from datasets import load_dataset
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
def load(name):
    return AutoModelForCausalLM.from_pretrained(name)
def main(lr=1e-3, *, epochs=1, name="acme/small-1b"):
    model = load(name)
    data = load_dataset("acme/chat", split="train")
    args = TrainingArguments("o", learning_rate=lr, num_train_epochs=epochs, seed=5)
    trainer = Trainer(model=model, args=args, train_dataset=data)
    trainer.train()
    return trainer
if __name__ == "__main__":
    main(2e-5, epochs=4)
