// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ChannelConfig, ClaimRecord, EpochClaim, Item, Part, Payout, PPM} from "../src/interfaces/Types.sol";
import {vm} from "./support/Vm.sol";
import {World} from "./support/World.sol";

/// @notice What whole transactions cost, held against gas.json: none may grow by more than 3 %. `GAS_WRITE=true` writes it anew.
/// forge-config: default.isolate = true
contract GasTest is World {
    string private constant FILE = "gas.json";
    uint256 private constant CHANNELS = 10;

    string[] private _names;
    uint256[] private _gas;

    function test_no_transaction_has_grown() public {
        _measureClaims();
        _measureOthers();
        if (vm.envOr("GAS_WRITE", false)) {
            _write();
            return;
        }
        string memory kept = vm.readFile(FILE);
        for (uint256 i = 0; i < _names.length; ++i) {
            uint256 before = vm.parseJsonUint(kept, string.concat(".", _names[i]));
            yes(string.concat(_names[i], " takes ", vm.toString(_gas[i])), _gas[i] * 100 <= before * 103);
        }
    }

    function test_ten_channels_cost_at_most_300_000() public {
        _measureClaims();
        yes(vm.toString(_gas[1]), _gas[1] <= 300_000);
    }

    /// @dev Ten channels of a hundred receipts each, on two adapters with three pots, twice: to new slots and to old ones.
    function _measureClaims() private {
        ChannelConfig[] memory configs = new ChannelConfig[](CHANNELS);
        for (uint256 i = 0; i < CHANNELS; ++i) configs[i] = _open(i);
        _measureClaim("claim_10_channels_first", configs, 0, 40 * OPEN);
        _measureClaim("claim_10_channels", configs, 40 * OPEN, 90 * OPEN);
    }

    function _measureClaim(string memory name, ChannelConfig[] memory configs, uint128 from, uint128 to) private {
        bytes32[] memory adapters = _ids(ONE, TWO);
        Item[] memory items = new Item[](configs.length);
        for (uint256 i = 0; i < items.length; ++i) {
            items[i] = _item(configs[i], from, to, 0);
            items[i].parts = new Part[](2);
            items[i].parts[0] = Part({adapter: 0, amount: (to - from) / 4});
            items[i].parts[1] = Part({adapter: 1, amount: to - from - (to - from) / 4});
        }
        EpochClaim memory epochClaim = _epochClaim(adapters, items);
        vm.prank(signer);
        channels.claim(epochClaim, adapters, items, "");
        _note(name);
    }

    function _measureOthers() private {
        vm.prank(payer);
        channels.open(_config(77), DEPOSIT);
        _note("open");
        ClaimRecord memory record = _claimed(TWO);
        Payout[] memory payouts = _fifty(record);
        vm.prank(signer);
        rewards.propose(record, "root", 50, payouts, "");
        _note("propose_50");
        vm.warp(block.timestamp + windows().window);
        rewards.finalize(record, payouts);
        _note("finalize_50");
        vm.prank(maker);
        token.transfer(alice, 1);
        _note("token_transfer");
        vm.prank(payouts[0].account);
        rewards.withdraw(alice, OPEN / 100);
        _note("withdraw");
    }

    function _fifty(ClaimRecord memory record) private pure returns (Payout[] memory payouts) {
        payouts = new Payout[](50);
        for (uint160 i = 0; i < 50; ++i) {
            payouts[i] = _payout(0, address(0xD000 + i), PPM * record.pots[0].gross / 50);
        }
    }

    function _note(string memory name) private {
        _names.push(name);
        _gas.push(vm.lastCallGas().gasTotalUsed);
    }

    function _write() private {
        string memory text = "{";
        for (uint256 i = 0; i < _names.length; ++i) {
            text = string.concat(text, i == 0 ? "\n  \"" : ",\n  \"", _names[i], "\": ", vm.toString(_gas[i]));
        }
        vm.writeFile(FILE, string.concat(text, "\n}\n"));
    }
}
