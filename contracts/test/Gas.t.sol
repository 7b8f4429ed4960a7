// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ChannelConfig, ClaimRecord, EpochClaim, Item, Part, Payout, PPM} from "../src/interfaces/Types.sol";
import {log_named_uint, vm} from "./support/Vm.sol";
import {World} from "./support/World.sol";

/// @notice What whole transactions cost, held against gas.json: none may grow by more than 3 %. `npm run gas` prints them,
/// `GAS_WRITE=true npm run gas` writes the file anew. A claim of ten channels stands for a hundred receipts in each: they are
/// counted on the chain and never sent to it.
/// forge-config: default.isolate = true
contract GasTest is World {
    string private constant FILE = "gas.json";
    uint256 private constant CHANNELS = 10;
    uint32 private constant RECEIPTS = 1_000;

    string[] private _names;
    uint256[] private _gas;

    function test_no_transaction_has_grown() public {
        _measureClaims();
        _measurePayers();
        _measurePayouts();
        if (vm.envOr("GAS_WRITE", false)) _write();
        string memory kept = vm.readFile(FILE);
        for (uint256 i = 0; i < _names.length; ++i) {
            uint256 before = vm.parseJsonUint(kept, string.concat(".", _names[i]));
            emit log_named_uint(_names[i], _gas[i]);
            yes(string.concat(_names[i], " takes ", vm.toString(_gas[i])), _gas[i] * 100 <= before * 103);
        }
    }

    /// @dev With what nearly every claim has, one adapter on one Datanet, and all channels claimed before.
    function test_ten_channels_of_a_hundred_receipts_cost_at_most_300_000() public {
        ChannelConfig[] memory configs = _openTen(0);
        _measureClaim("first", configs, _ids(TWO), 0, 10 * OPEN);
        _measureClaim("next", configs, _ids(TWO), 10 * OPEN, 20 * OPEN);
        yes(vm.toString(_gas[1]), _gas[1] <= 300_000);
    }

    function _measureClaims() private {
        ChannelConfig[] memory configs = _openTen(0);
        _measureClaim("claim_10_channels_first", configs, _ids(TWO), 0, 10 * OPEN);
        _measureClaim("claim_10_channels", configs, _ids(TWO), 10 * OPEN, 20 * OPEN);
        _measureClaim("claim_10_channels_base_only", configs, _ids(BASE), 20 * OPEN, 30 * OPEN);
        _measureClaim("claim_10_channels_2_adapters_3_pots", configs, _ids(ONE, TWO), 30 * OPEN, 40 * OPEN);
    }

    function _openTen(uint256 salt) private returns (ChannelConfig[] memory configs) {
        configs = new ChannelConfig[](CHANNELS);
        for (uint256 i = 0; i < CHANNELS; ++i) configs[i] = _open(uint256(keccak256(abi.encode(salt, i))));
    }

    /// @dev Every channel has paid for work with each of the adapters.
    function _measureClaim(
        string memory name,
        ChannelConfig[] memory configs,
        bytes32[] memory adapters,
        uint128 from,
        uint128 to
    ) private {
        Item[] memory items = new Item[](configs.length);
        for (uint256 i = 0; i < items.length; ++i) {
            items[i] = _item(configs[i], from, to, 0);
            items[i].parts = _even(to - from, adapters.length);
        }
        EpochClaim memory epochClaim = _epochClaim(adapters, items);
        epochClaim.count = RECEIPTS;
        vm.prank(signer);
        channels.claim(epochClaim, adapters, items, "");
        _note(name);
    }

    function _even(uint128 amount, uint256 count) private pure returns (Part[] memory parts) {
        parts = new Part[](count);
        for (uint16 a = 0; a < count; ++a) parts[a] = Part({adapter: a, amount: amount / uint128(count)});
    }

    function _measurePayers() private {
        ChannelConfig memory config = _config(77);
        vm.startPrank(payer);
        channels.open(config, DEPOSIT);
        _note("open");
        channels.topUp(config, DEPOSIT);
        _note("top_up");
        channels.startWithdraw(config, DEPOSIT);
        _note("start_withdraw");
        vm.warp(block.timestamp + DELAY);
        channels.finishWithdraw(config);
        _note("finish_withdraw");
        vm.stopPrank();
    }

    function _measurePayouts() private {
        ClaimRecord memory record = _claimed(TWO);
        Payout[] memory payouts = _fifty(record);
        vm.prank(signer);
        rewards.propose(record, "root", 50, payouts, "");
        _note("propose_50_payouts");
        vm.warp(block.timestamp + windows().window);
        rewards.finalize(record, payouts);
        _note("finalize_50_payouts");
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
